# `make help` lists what there is. Everything runs in a virtual environment of its own (VENV).

# A Python 3.11 or newer; used once, to make the environment.
PYTHON ?= python3
# What `make test-newest` tries.
NEWEST_PYTHON ?= python3.13
VENV ?= .venv
# More options for pip, such as a package index with CPU builds of torch.
PIP_FLAGS ?=

BIN := $(VENV)/bin
# PIP_FLAGS may point elsewhere, but never past the versions that were tested together.
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt $(PIP_FLAGS)
# What must be installed again when it changes.
PACKAGING := pyproject.toml constraints.txt

# The demonstration: new crystals around a real perovskite, with the model that the package ships.
DEMO_FLAGS ?= --base examples/SrTiO3.cif -n 24 --seed 0

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install install-dev install-docs install-gpaw demo examples test test-slow test-lowest install-newest test-newest coverage lint format fuzz kill bench docs release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "icsg3d needs Python 3.11 or newer: name one, as in 'make install PYTHON=python3.12'." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch comes first and alone: it is by far the largest, and nothing after it may exchange it.
$(VENV)/.icsg3d-installed: $(PACKAGING) | $(BIN)/python
	$(PIP) torch
	$(PIP) -e '.[train]'
	@touch $@

$(VENV)/.icsg3d-dev: $(VENV)/.icsg3d-installed
	$(PIP) -e '.[train,evaluate,workflows,dev]'
	@touch $@

$(VENV)/.icsg3d-docs: $(VENV)/.icsg3d-installed
	$(PIP) -e '.[docs]'
	@touch $@

install: $(VENV)/.icsg3d-installed ## install the package into .venv
	@echo "icsg3d is installed: $(BIN)/icsg3d --help"

install-dev: $(VENV)/.icsg3d-dev ## install what tests and linters need as well
	@:

install-docs: $(VENV)/.icsg3d-docs ## install what the documentation needs as well
	@:

install-gpaw: $(VENV)/.icsg3d-installed ## install the engine gpaw (docs/install-gpaw.md says what it needs)
	printf "compiler = 'g++'\nmpi = False\nfftw = True\nlibraries = ['xc', 'openblas', 'fftw3']\n" > $(VENV)/gpaw-siteconfig.py
	GPAW_CONFIG=$(abspath $(VENV)/gpaw-siteconfig.py) $(PIP) -e '.[train,gpaw]'

demo: install ## design crystals around SrTiO3 into runs/demo
	rm -rf runs/demo
	$(BIN)/icsg3d generate $(DEMO_FLAGS) --out runs/demo

examples: install-dev ## run the examples, pictures into runs/examples
	@for example in examples/0*.py; do echo "== $$example"; MPLBACKEND=Agg $(BIN)/python $$example || exit 1; done

# A process for each processor, with one thread; files stay whole, as their tests share what is slow to make.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test: install-dev ## run the tests but the slow ones
	$(PYTEST) -m "not slow" $(PYTEST_FLAGS)

test-slow: install-dev ## run the slow tests: kills, signals, forked processes, whole runs
	$(PYTEST) -m slow $(PYTEST_FLAGS)

# In an environment of its own. One value of indium differs in the tables of that pymatgen.
test-lowest: ## try the lowest supported versions on crystals, grids and networks
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --disable-pip-version-check -c constraints-lowest.txt $(PIP_FLAGS) \
		-e '.[train,matminer]' pytest pytest-xdist hypothesis
	OMP_NUM_THREADS=1 $(VENV)-lowest/bin/python -m pytest -n auto --dist loadfile -m "not slow" \
		--disable-warnings -o filterwarnings=default -k "not graph_features_are_those_of_pymatgen" \
		$(or $(TESTS),tests/crystals tests/representation tests/models)

# In an environment of its own, with the versions of constraints.txt.
$(VENV)-newest/.icsg3d-installed: $(PACKAGING)
	$(NEWEST_PYTHON) -m venv --clear $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --disable-pip-version-check -c constraints.txt $(PIP_FLAGS) torch
	$(VENV)-newest/bin/python -m pip install --disable-pip-version-check -c constraints.txt $(PIP_FLAGS) \
		-e '.[train,matminer]' pytest pytest-xdist hypothesis
	@touch $@

install-newest: $(VENV)-newest/.icsg3d-installed ## install with the newest supported Python (NEWEST_PYTHON)
	@:

test-newest: install-newest ## try the newest supported Python on crystals, grids and networks
	OMP_NUM_THREADS=1 $(VENV)-newest/bin/python -m pytest -n auto --dist loadfile -m "not slow" \
		$(or $(TESTS),tests/crystals tests/representation tests/models)

coverage: install-dev ## run the tests and list the lines that none of them reaches
	$(PYTEST) --cov=icsg3d --cov-report=term-missing:skip-covered $(PYTEST_FLAGS)

fuzz: install-dev ## read N mutants of crystal files (N=1000)
	$(BIN)/python tests/robustness/fuzz.py --cases $(or $(N),1000)

kill: install-dev ## stop running commands N times at random moments (N=20)
	$(BIN)/python tests/robustness/kill.py --kills $(or $(N),20)

lint: install-dev ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install-dev ## bring the code into style
	$(BIN)/ruff check --fix-only --exit-zero .
	$(BIN)/ruff format .

bench: install ## measure speed into runs/bench
	$(BIN)/python -m benchmarks.run --out runs/bench

docs: install-docs ## build the documentation into docs/_build/html, warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

release: install-dev ## build sdist and wheel into dist/, check them, say how to publish
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m benchmarks.release dist
	@echo "To publish: tag the version (git tag v$$($(BIN)/python -c 'import icsg3d; print(icsg3d.__version__)'), git push --tags),"
	@echo "try $(BIN)/twine upload --repository testpypi dist/*, install it from there, then $(BIN)/twine upload dist/*."

clean: ## remove what was built; the environment and runs/ stay
	rm -rf build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find icsg3d tests benchmarks examples docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
