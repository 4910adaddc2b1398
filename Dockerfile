# docker build -t r2h .    then    docker run --rm -v "$PWD:/data" -u "$(id -u):$(id -g)" r2h --help
# Any base with Python 3.11 and apt will do.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# Empty: pip's own index, where torch for Linux is the CUDA build, gigabytes larger. For the CPU
# build give the address of the index of CPU wheels that torch's installation page names.
ARG PIP_EXTRA_INDEX_URL=
# requirements/container.txt: every file must have its hash there (CPU build). Empty: versions only.
ARG LOCKED=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt pyproject.toml ./
COPY requirements requirements
# pip and setuptools stay behind in /tools. The dependencies are a layer of their own, which a
# change of the sources leaves alone.
RUN python3 -m venv /tools \
    && python3 -m venv --without-pip /opt/r2h \
    && python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && /tools/bin/pip install -c constraints.txt setuptools \
    && if [ -n "$LOCKED" ]; then set -- --require-hashes -r "$LOCKED"; \
       else set -- -c constraints.txt -r requirements.txt; fi \
    && /tools/bin/pip --python /opt/r2h/bin/python install "$@"
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
# A home that any user given to `docker run -u` may write to: Prefect and matplotlib want one.
ENV PATH=/opt/r2h/bin:$PATH HOME=/tmp LOGNAME=r2h
USER 1000
WORKDIR /data
ENTRYPOINT ["r2h"]
CMD ["--help"]
