# Python 3.11 or newer is the only requirement: each target installs what it needs into $(VENV).
PYTHON ?= python3
PYTEST_ARGS ?= -n auto
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test lowest lint types bench bench-full docs recipes build clean

help:  ## List the targets (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is required. Choose an interpreter with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[cli]' --group dev
	@touch $@

demo: $(VENV)/.installed  ## Export all segments of the sandbox, a fake Braze on this machine
	$(BIN)/braze-segments export --sandbox --output "$$(mktemp -d)/segments.ndjson"

test: $(VENV)/.installed  ## Run the test suite; PYTEST_ARGS="-x tests/cli" runs a part of it
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lowest: export UV_NO_CACHE := 1
lowest: $(VENV)/.installed  ## Test with the lowest versions that pyproject.toml allows; needs Python 3.11
	$(BIN)/python -m pip install --quiet --group lowest
	rm -rf build/lowest
	$(BIN)/uv venv --quiet --python 3.11 build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest --resolution lowest-direct \
		--editable '.[cli,dask,fastapi,parquet,speed,xlsx]'
	$(BIN)/uv pip install --quiet --python build/lowest --group pytest
	LOWEST=1 build/lowest/bin/python -m pytest tests/docs/test_lowest_versions.py tests/faults/test_service.py

lint: $(VENV)/.installed  ## Check style and formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed  ## Check types with mypy
	$(BIN)/mypy

# In an environment of its own: Braze's local MCP server needs mcp<2, and the recipes need mcp>=2.
$(VENV)-bench/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-bench/bin/python -m pip install --quiet --editable '.[parquet]' --group bench
	@touch $@

bench: $(VENV)-bench/.installed  ## Run the benchmarks, and draw the chart in the docs: four minutes
	$(VENV)-bench/bin/python benchmarks/run.py

bench-full: $(VENV)-bench/.installed  ## Run the benchmarks in full size, three times: forty minutes
	$(VENV)-bench/bin/python benchmarks/run.py --full

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group docs
	@touch $@

docs: $(VENV)/.docs  ## Build the documentation in build/docs, and run its examples
	$(BIN)/python -m sphinx -E -n -q -W --keep-going docs build/docs
	SITE=build/docs $(BIN)/python -m pytest $(PYTEST_ARGS) tests/docs/test_docs.py

recipes: $(VENV)/.installed  ## Test the examples that need other packages or LibreOffice; the commands on uvloop
	$(BIN)/python -m pip install --quiet --group recipes
	RECIPES=1 $(BIN)/python -m pytest $(PYTEST_ARGS) tests/docs/test_recipes.py tests/docs/test_notebook.py tests/integrations \
		tests/cli
	LOOP=uvloop $(BIN)/python -m pytest $(PYTEST_ARGS) tests/faults/test_service.py tests/http/test_direct.py

build: $(VENV)/.installed  ## Build the wheel and the sdist in dist/, and check them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .ci/check_dist.py

clean:  ## Remove the virtual environment and everything generated
	rm -rf $(VENV) $(VENV)-bench build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
