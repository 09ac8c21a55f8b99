# Two commands for a newcomer: `make run` and `make test`. Everything else serves them.
# Works as root on a bare Debian 12: what is missing is installed, by name.

SHELL := /bin/bash
PYTHON := /usr/bin/python3
VENV := .venv
BUILD_VENV := build/venv
BINARY := dist/fkllmproxy
SOURCES := $(shell find fkproxy scripts -name '*.py') shiv.toml requirements/runtime.txt
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --require-hashes --no-deps --no-build-isolation

.PHONY: run test build check bench lock clean

run: $(BINARY)
	@echo "fkllmproxy listens on http://127.0.0.1:$${APP_SERVER__PORT:-4000} (Ctrl-C stops it)"
	@exec $(BINARY)

build: $(BINARY)

$(BINARY): $(BUILD_VENV)/.stamp $(SOURCES)
	$(BUILD_VENV)/bin/python scripts/build.py

$(BUILD_VENV)/.stamp: requirements/build.txt
	scripts/need python3-venv
	rm -rf $(BUILD_VENV) && $(PYTHON) -m venv $(BUILD_VENV)
	$(BUILD_VENV)/bin/python $(PIP_INSTALL) -r requirements/build.txt
	@touch $@

$(VENV)/.stamp: requirements/build.txt requirements/test.txt
	scripts/need python3-venv
	rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(PIP_INSTALL) -r requirements/build.txt
	$(VENV)/bin/python $(PIP_INSTALL) -r requirements/test.txt
	@touch $@

node_modules/.stamp: package.json package-lock.json $(VENV)/.stamp
	$(VENV)/bin/python scripts/node.py npm ci --no-audit --no-fund --silent
	@touch $@

test: $(BINARY) $(VENV)/.stamp node_modules/.stamp
	scripts/need procps
	$(MAKE) --no-print-directory check
	$(VENV)/bin/python -m pytest

check: $(VENV)/.stamp
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/mypy
	$(VENV)/bin/python scripts/env_example.py --check

bench: $(BINARY) $(VENV)/.stamp
	scripts/need gcc libc6-dev nginx-light
	$(VENV)/bin/python bench/run.py

lock: $(VENV)/.stamp
	scripts/lock

clean:
	rm -rf build dist $(VENV) node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .bench
