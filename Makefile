# Two commands matter: `make demo` and `make test`. Both set themselves up.
PYTHON ?= python3.11
VENV := .venv
BENCH ?=
PICTURES ?=
FUZZ ?=
AUDIT ?=
LICENCES := MIT;BSD;Apache;ISC;PSF;Python Software Foundation;MPL;Mozilla;Artistic
BIN := $(VENV)/bin
PHOTO = $(shell $(BIN)/python -c "import skimage, pathlib; print(pathlib.Path(skimage.__file__).parent / 'data' / 'coffee.png')")

.PHONY: demo test lint types setup evaluate train bench pictures faults fuzz fuzz-guided audit sbom licences lock \
	deploy-check image-check clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup  ## Reconstruct a photograph that comes with scikit-image, through the Prefect flow
	mkdir -p demo
	$(BIN)/r2h reconstruct $(PHOTO) demo/coffee.zarr --overwrite --prefect
	$(BIN)/r2h look demo/coffee.zarr

test: setup lint types  ## Lint, types and every test that takes no minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --max-worker-restart 0

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

evaluate: setup  ## Score the shipped weights: make evaluate CAVE=folder
	$(BIN)/r2h evaluate cave --root $(CAVE) --out runs/evaluation

train: setup  ## Reproduce the shipped weights: make train CAVE=folder AIRBORNE=folder REFLECTANCES=file LIGHTS=file
	$(BIN)/r2h train train-cave.toml --root $(CAVE) --out runs/cave
	$(BIN)/r2h train train-cave-breadth.toml --root $(CAVE) --reflectances $(REFLECTANCES) \
		--init runs/cave/checkpoint.safetensors --out runs/breadth
	$(BIN)/r2h train train-wide.toml --root $(CAVE) --reflectances $(REFLECTANCES) --illuminants $(LIGHTS) \
		--beside $(AIRBORNE) --init runs/breadth/checkpoint.safetensors --out runs/wide

bench: $(VENV)/.bench  ## Measure into docs/benchmarks.md (hours); BENCH="null --quick" for less
	$(BIN)/python -m benchmarks $(BENCH)

pictures: setup  ## Take every picture of the docs again; PICTURES="--chart FILE CORNERS --calibration CAVE RUN"
	$(BIN)/python -m benchmarks.pictures $(PICTURES)

$(VENV)/.bench: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

faults: setup  ## Kill, cut, fill and race runs by the hundred; compare with one left alone
	$(BIN)/python -m pytest -m "" tests/test_cloud.py tests/test_remote.py
	$(BIN)/python -m tests.faults

fuzz: setup  ## Read 100,000 broken files (an hour); FUZZ="--kinds tif --files 1000" for less
	$(BIN)/python -m tests.fuzz $(FUZZ)

fuzz-guided: setup  ## The same where lines are Python's, led by what they reach (atheris)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	for kind in toml csv geojson stac mat5; do $(BIN)/python -m tests.fuzz.guided $$kind 20000 || exit; done

# Asks PyPI's JSON API, which mirrors of files lack: behind one every package is "not found on PyPI",
# from the first on, and this fails. Then AUDIT="-s osv", or with --osv-url where that is served.
audit: $(VENV)/.supply  ## Known vulnerabilities of the image's packages; one that cannot be asked about fails
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements/container.txt $(AUDIT)

sbom: $(VENV)/.supply  ## What is installed, as CycloneDX, held to its schema (a minute): sbom.json
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible -o sbom.json

licences: $(VENV)/.supply  ## Licences of the image's packages; one that is not allowed fails
	$(BIN)/pip-licenses --partial-match --allow-only="$(LICENCES)" \
		--packages $$(sed -n 's/==.*//p' requirements/container.txt)

lock: setup  ## Versions and hashes of the image's packages
	$(BIN)/python requirements/lock.py

$(VENV)/.supply: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[supply]'
	touch $@

# Each in a process of its own: what one leaves to Prefect's threads, the next would wait for.
deploy-check: setup  ## Prefect's server and worker and Dask's on this machine: schedule, cancel, kill, resume
	for file in deploy cluster evaluate redact; do \
		$(BIN)/python -m pytest -m "" -o faulthandler_timeout=4000 tests/test_$$file.py || exit; done

image-check:  ## Build the image with buildah and use it; BUILDAH_ARGS for this machine
	tests/image_check.sh

clean:  ## Delete what setup, demo and builds made; runs/, which holds trainings, stays
	rm -rf $(VENV) demo build *.egg-info
