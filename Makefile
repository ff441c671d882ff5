# Build, check and test a fresh clone, with only Python >= 3.11 and make.
# `make help` lists the targets; `make PYTHON=python3.12 VENV=.venv-3.12 test` uses another interpreter.

PYTHON ?= python3
VENV ?= .venv
NEWEST = .venv-newest
ARGS =
ONCE =
# RELAY_TESTS_EXEC=1 starts every program as users do; otherwise most are forked (tests/warm_start).
# Tests mostly wait, so run more workers than there are CPUs. 0 runs all tests in pytest's own process.
WORKERS ?= 6

BIN = $(VENV)/bin

all: check test

help:
	@echo 'make              check and test'
	@echo 'make demo         start a relay before a small demo server, call it once, stay up; ONCE=1 ends after the call'
	@echo 'make setup        make a virtual environment in $(VENV) with the package and the tools'
	@echo 'make check        ruff, mypy --strict, and the layers of imports (import-linter)'
	@echo 'make test         install the test peers and run pytest; ARGS="-k sse -x" adds options; WORKERS=0 for --pdb'
	@echo 'make conformance  the official conformance runner, direct and through the relay; ARGS="--era 2026-07-28"'
	@echo 'make soak         every listener with every target, 10,000 calls a pair; prints the matrix'
	@echo 'make cover        pytest under coverage: 95 % of all, 100 % of frames/, mcp/ and routing/'
	@echo 'make packages     build sdist and wheel in dist/, install them with pip, pipx and uv, and run each'
	@echo 'make docs         build the documents in site/; each link must lead somewhere'
	@echo 'make release      VERSION=X.Y.Z: build, check and try the packages, and write the SBOM and the notes, in dist/'
	@echo 'make client       build, check and test the TypeScript client in client/ (Node >= 20.19; Chromium for its page)'
	@echo 'make fuzz         run the hypothesis tests with many examples'
	@echo 'make bench        python -m bench $$(ARGS)'
	@echo 'make newest-aiohttp  test the use of aiohttp private details with its newest version, pre-releases included'
	@echo 'make schemas      write relay/schemas again after an option has changed'
	@echo 'make fix          let ruff repair and format'
	@echo 'make clean        remove what the targets above made'

# Only the package, which `make demo` needs.
$(VENV)/.package: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'mcp-relay needs Python 3.11 or newer; $(PYTHON) is not. Name one: make PYTHON=python3.12' >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo '$(PYTHON) cannot make virtual environments (no venv or ensurepip).' >&2; \
	  echo 'On Debian and Ubuntu: apt install python3-venv. Or name another: make PYTHON=/path/to/python3' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.tools: $(VENV)/.package
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

setup: $(VENV)/.tools

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

peers: setup
	$(BIN)/python tests/peers/install.py

test: peers
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

conformance: peers
	$(BIN)/python -m tests.conformance $(ARGS)

soak: setup
	$(BIN)/python -m tests.e2e.pairs --frames 10000 $(ARGS)

cover: peers
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include='relay/frames/*,relay/mcp/*,relay/routing/*'

packages: setup
	$(BIN)/python -m tests.packages

client: peers
	$(BIN)/python -m tests.client

fuzz: setup
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=fuzz --timeout=3600 $(ARGS)

bench: setup
	$(BIN)/python -m bench $(ARGS)

$(VENV)/.docs: $(VENV)/.package
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet $(ARGS)
	@echo 'site/index.html'

$(VENV)/.release: $(VENV)/.package
	$(BIN)/python -m pip install --quiet --editable '.[release]'
	@touch $@

release: $(VENV)/.release
	$(BIN)/python -m tests.release $(VERSION)

# If this passes with a version beyond the bound in pyproject.toml, raise the bound.
newest-aiohttp:
	$(MAKE) VENV=$(NEWEST) setup
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --pre aiohttp
	$(NEWEST)/bin/python -c 'import aiohttp; print("aiohttp", aiohttp.__version__)'
	$(NEWEST)/bin/python -m pytest -n $(WORKERS) tests/endpoints/http tests/endpoints/websocket tests/e2e/test_twins.py $(ARGS)

schemas: setup
	$(BIN)/python -m relay config schema servers > relay/schemas/servers.json
	$(BIN)/python -m relay config schema relay > relay/schemas/relay.json

demo: $(VENV)/.package
	@once='$(ONCE)'; exec $(BIN)/python -m relay.demo $${once:+--once} $(ARGS)

fix: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) $(NEWEST) .peers bench/.peers build dist site htmlcov .coverage .coverage.* .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache client/dist client/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: all help setup check peers test conformance soak cover packages client docs release fuzz bench newest-aiohttp schemas demo fix clean
