# `make run` needs Python 3.11 or newer and nothing else; everything that it makes lies under PANDA_HOME.

PANDA_HOME ?= .panda
export PANDA_HOME := $(abspath $(PANDA_HOME))

VENV := $(PANDA_HOME)/venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --require-virtualenv

export RUFF_CACHE_DIR := $(PANDA_HOME)/cache/ruff
export MYPY_CACHE_DIR := $(PANDA_HOME)/cache/mypy
export HYPOTHESIS_STORAGE_DIRECTORY := $(PANDA_HOME)/cache/hypothesis

.PHONY: help run test chaos simulate orders lint docs bench lock clean

help:
	@echo "make run [FEED=FILE] [SPEED=N|max]   run everything: the market simulator, or a recording"
	@echo "make test [ARGS=...]                 lint, then every test that this machine can run"
	@echo "make chaos [ARGS='--kills N']        kill feed, brain and arm, and compare with an undisturbed run"
	@echo "make chaos ARGS='kite --orders N'    the Zerodha arm at a broker whose answers cannot be trusted"
	@echo "make simulate [ARGS='--seed S']      kill agents on logs in memory, on thousands of random schedules"
	@echo "make orders [ARGS='--orders N']      random orders on the ticks of a real session, each told by itself too"
	@echo "make lint                            ruff, mypy, import-linter"
	@echo "make docs                            write the generated pages of docs/ anew"
	@echo "make bench [ARGS='brain loop']       run the benchmarks: ratios against a reference, of this machine"
	@echo "make lock                            lock the versions of all dependencies anew"
	@echo "make clean                           remove the environment and the caches, not the worlds"

run: $(VENV)/installed
	@exec $(BIN)/panda up $(if $(FEED),--feed '$(FEED)') $(if $(SPEED),--speed '$(SPEED)')

test: lint
	@exec $(BIN)/python -m pytest -o cache_dir=$(PANDA_HOME)/cache/pytest $(ARGS)

chaos: $(VENV)/installed-dev
	@exec $(BIN)/python -m tests.chaos $(ARGS)

simulate: $(VENV)/installed-dev
	@exec $(BIN)/python -m tests.simulation $(ARGS)

orders: $(VENV)/installed-dev
	@exec $(BIN)/python -m tests.orders $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir $(PANDA_HOME)/cache/import-linter

docs: $(VENV)/installed
	$(BIN)/python docs/generate.py

bench: $(VENV)/installed-dev
	@exec $(BIN)/python -m benchmarks $(ARGS)

# Universal: one file for every Python and platform that is supported.
COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header setup.cfg

lock: $(VENV)/installed-dev
	$(COMPILE) --extra build -o requirements.lock
	$(COMPILE) --extra build --extra dev -o requirements-dev.lock
	$(BIN)/python -m panda_streams.embedded.kafka lock

clean:
	rm -rf $(VENV) $(PANDA_HOME)/cache

# Files below are made once, and again when what they depend on changes: the second `make run` starts at once.

$(BIN)/python:
	@for python in python3.13 python3.12 python3.11 python3; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        found=$$python; \
	        if $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	            echo "making the environment $(VENV) with $$($$python --version)"; \
	            exec $$python -m venv --clear "$(VENV)"; \
	        fi; \
	    fi; \
	done; \
	if [ -n "$$found" ]; then \
	    echo "error: $$found cannot make virtual environments: its modules venv and ensurepip are missing"; \
	    echo "  fix: install them; on Debian and Ubuntu: apt install python3-venv"; \
	else \
	    echo "error: no Python 3.11 or newer: tried python3.13, python3.12, python3.11 and python3"; \
	    echo "  fix: install one"; \
	fi >&2; \
	exit 1

$(VENV)/installed: requirements.lock setup.cfg pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV); this takes a minute or two, once"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/installed-dev: requirements-dev.lock $(VENV)/installed
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@
