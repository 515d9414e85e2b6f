# Python 3.11 or newer is the only requirement: each target installs what it needs into $(VENV).
PYTHON ?= python3
PYTEST_ARGS ?= -n auto
VENV ?= .venv
BIN := $(VENV)/bin
# uv cannot use the shims of pyenv.
PYTHON_312 ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python) python3.12)
NODE_PACKAGES := @stoplight/prism-cli@5.14.2 braze-api@2.13.4
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo pictures test browser lowest lint types bench bench-full docs recipes contract build clean

help:  ## List the targets (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

build/check:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is required. Choose an interpreter with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@mkdir -p build && touch $@

$(VENV)/.installed: pyproject.toml | build/check
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[cli]' --group dev
	@touch $@

build/demo/.installed: pyproject.toml | build/check
	$(PYTHON) -m venv build/demo
	build/demo/bin/python -m pip install --quiet --editable '.[cli]'
	@touch $@

demo: build/demo/.installed  ## Export the sandbox, a fake Braze on this machine: a table, a page, a database
	@build/demo/bin/python examples/demo.py

pictures: $(VENV)/.installed  ## Draw the pictures of the README from the real program; needs Chromium
	$(BIN)/python -m pip install --quiet --group pictures
	$(BIN)/python docs/_static/pictures.py

test: $(VENV)/.installed  ## Run the test suite; PYTEST_ARGS="-x tests/cli" runs a part of it
	$(BIN)/python -m pytest $(PYTEST_ARGS)

build/axe/package.json: Makefile
	npm install --silent --no-audit --no-fund --prefix build/axe axe-core@4
	@touch $@

browser: $(VENV)/.installed build/axe/package.json  ## Test the report page in Chromium; needs npm and a browser
	$(BIN)/python -m pip install --quiet --group browser
	BROWSER=1 $(BIN)/python -m pytest $(PYTEST_ARGS) tests/browser

lowest: export UV_NO_CACHE := 1
lowest: $(VENV)/.installed  ## Test with the lowest versions that pyproject.toml allows; needs Python 3.11
	$(BIN)/python -m pip install --quiet --group lowest
	rm -rf build/lowest
	$(BIN)/uv venv --quiet --python 3.11 build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest --resolution lowest-direct \
		--editable '.[cli,dask,fastapi,metrics,parquet,speed,xlsx]'
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

recipes: $(VENV)/.installed  ## Test the examples that need other packages or LibreOffice; the commands and faults on uvloop
	$(BIN)/python -m pip install --quiet --group recipes
	RECIPES=1 $(BIN)/python -m pytest $(PYTEST_ARGS) tests/docs/test_recipes.py tests/docs/test_deploy.py \
		tests/docs/test_notebook.py tests/integrations tests/cli
	LOOP=uvloop $(BIN)/python -m pytest $(PYTEST_ARGS) tests/faults/test_service.py tests/http/test_direct.py

contract: export UV_PYTHON_DOWNLOADS := never
contract: $(VENV)/.installed  ## Test against Prism, braze-api and Braze's MCP server; needs Node.js 20 and Python 3.12
	$(BIN)/python -m pip install --quiet --group lowest
	npm install --silent --no-audit --no-fund --no-save --prefix build/contract $(NODE_PACKAGES)
	rm -rf build/contract/venv
	$(BIN)/uv venv --quiet --python $(PYTHON_312) build/contract/venv \
		|| $(BIN)/uv venv --quiet --python $(PYTHON) build/contract/venv  # without the tests of the MCP server
	$(BIN)/uv pip install --quiet --python build/contract/venv --editable '.[cli]' --group pytest --group contract
	build/contract/venv/bin/python -m pytest tests/contract

build: $(VENV)/.installed  ## Build the wheel and the sdist in dist/, and check them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .ci/check_dist.py

clean:  ## Remove the virtual environment and everything generated
	rm -rf $(VENV) $(VENV)-bench build demo dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
