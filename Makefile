# `make demo` and `make test` are all a fresh machine needs.
PYTHON ?= python3
PYTEST_ARGS ?= -n auto
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lowest lint types bench bench-full docs recipes build clean

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[cli]' --group dev
	@touch $@

demo: $(VENV)/.installed  ## export a whole workspace, with details, from a Braze on this machine
	$(BIN)/braze-segments export --sandbox --output "$$(mktemp -d)/segments.ndjson"

test: $(VENV)/.installed
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lowest: export UV_NO_CACHE := 1
lowest: $(VENV)/.installed  ## the main uses, with the lowest versions that pyproject.toml allows on Python 3.11
	$(BIN)/python -m pip install --quiet --group lowest
	rm -rf build/lowest
	$(BIN)/uv venv --quiet --python 3.11 build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest --resolution lowest-direct \
		--editable '.[cli,dask,fastapi,parquet,speed]'
	$(BIN)/uv pip install --quiet --python build/lowest --group pytest
	LOWEST=1 build/lowest/bin/python -m pytest tests/docs/test_lowest_versions.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group bench
	@touch $@

bench: $(VENV)/.bench  ## two or three minutes; see benchmarks/README.md
	$(BIN)/python benchmarks/run.py

bench-full: $(VENV)/.bench  ## everything larger and three times over: forty minutes
	$(BIN)/python benchmarks/run.py --full

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group docs
	@touch $@

docs: $(VENV)/.docs  ## the site, in build/docs; what README and docs show is run
	$(BIN)/python -m sphinx -E -n -q -W --keep-going docs build/docs
	SITE=build/docs $(BIN)/python -m pytest $(PYTEST_ARGS) tests/docs/test_docs.py

recipes: $(VENV)/.installed  ## the recipes, with the packages that only they need; the commands again, on uvloop
	$(BIN)/python -m pip install --quiet --group recipes
	RECIPES=1 $(BIN)/python -m pytest $(PYTEST_ARGS) tests/docs/test_recipes.py tests/docs/test_notebook.py tests/cli

build: $(VENV)/.installed
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .ci/check_dist.py

clean:
	rm -rf $(VENV) build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
