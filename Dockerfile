# docker build -t r2h .    then    docker run --rm -v "$PWD:/data" -u "$(id -u):$(id -g)" r2h --help
# Any base with Python 3.11 (LOCKED: from 3.11.3 on) and apt will do.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# cpu or cuda: which build of torch the image must hold. torch's wheel on pip's own index is the
# CUDA one, gigabytes larger; for cpu give the index of CPU wheels that torch's installation page
# names. An image that did not get what was asked for is not built.
ARG VARIANT=cpu
ARG PIP_EXTRA_INDEX_URL=
# Of the project's extras, with commas.
ARG EXTRAS=cloud,cluster,stac
# requirements/container.txt: every file must have its hash there. It holds the CPU build and the
# extras above; what another image needs is not in it, and then none is built. Empty: versions only.
ARG LOCKED=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt pyproject.toml ./
COPY requirements requirements
# pip and setuptools stay behind in /tools. The dependencies are a layer of their own, which a
# change of the sources leaves alone. A lock is whole and installed as it is (--no-deps): pip would
# not take its sqlalchemy for the sqlalchemy[asyncio] that prefect needs.
RUN python3 -m venv /tools \
    && python3 -m venv --without-pip /opt/r2h \
    && EXTRAS=${EXTRAS} python3 -c "import os, tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = [e for e in os.environ['EXTRAS'].split(',') if e]; \
lines = sum((project['optional-dependencies'][e] for e in extras), project['dependencies']); \
print(*lines, sep='\n')" > requirements.txt \
    && /tools/bin/pip install -c constraints.txt setuptools \
    && if [ -n "$LOCKED" ]; then set -- --no-index; \
       /tools/bin/pip --python /opt/r2h/bin/python install --no-deps --require-hashes -r "$LOCKED"; fi \
    && /tools/bin/pip --python /opt/r2h/bin/python install "$@" -c constraints.txt -r requirements.txt \
    && /opt/r2h/bin/python -c "import sys, torch; \
got = 'cuda' if torch.version.cuda else 'cpu'; \
sys.exit(got != '${VARIANT}' and f'torch is of {got}, asked for was ${VARIANT}')" \
    # What only building and testing the packages needs: a quarter of a gigabyte.
    && find /opt/r2h/lib -type d \( -name tests -o -path '*/torch/include' -o -path '*/torch/test' \) \
        -prune -exec rm -rf {} + \
    && find /opt/r2h/lib -path '*/torch/bin/*est*' -delete
COPY . .
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /tools/bin/pip --python /opt/r2h/bin/python install --no-deps --no-index /dist/*.whl

FROM ${BASE}
# rasterio's wheels need libexpat, which the slim Python images lack.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --no-create-home --uid 1000 r2h \
    && install -d -o r2h -g r2h /data
COPY --from=build /opt/r2h /opt/r2h
COPY prefect.yaml /opt/r2h/
# A home that any user given to `docker run -u` may write to: Prefect and matplotlib want one.
ENV PATH=/opt/r2h/bin:$PATH HOME=/tmp LOGNAME=r2h
USER 1000
WORKDIR /data
ENTRYPOINT ["r2h"]
CMD ["--help"]
