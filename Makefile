# Two commands for a newcomer: `make run` and `make test`. Everything else serves them.
# Works as root on a bare Debian 12: what is missing is installed, by name.

SHELL := /bin/bash
VENV := .venv
BUILD_VENV := build/venv
BINARY := dist/fkllmproxy

# A stamp's name holds a hash of what it stands for: changed bytes count, the times of files do not.
hash = $(shell sha256sum $(sort $(1)) | sha256sum | cut -c1-16)
LOCKS := requirements/build.txt requirements/test.txt
BUILT_FROM := scripts/build.py scripts/start.py scripts/preamble.py shiv.toml requirements/runtime.txt $(shell find fkproxy -name '*.py') \
	packaging/env.example packaging/systemd/fkllmproxy.service packaging/systemd/fkllmproxy.socket runbook.md
BUILD_STAMP := $(BUILD_VENV)/.stamp-$(call hash,scripts/venv requirements/build.txt)
VENV_STAMP := $(VENV)/.stamp-$(call hash,scripts/venv $(LOCKS))
NODE_STAMP := node_modules/.stamp-$(call hash,package.json package-lock.json .npmrc)
INPUT_STAMP := build/.inputs-$(call hash,$(BUILT_FROM))

.PHONY: run test build check bench lock clean

run: $(BINARY)
	@echo "fkllmproxy listens on http://$${APP_SERVER__HOST:-127.0.0.1}:$${APP_SERVER__PORT:-4000} (Ctrl-C stops it)"
	@exec $(BINARY)

build: $(BINARY)

$(BINARY): $(BUILD_STAMP) $(INPUT_STAMP)
	@$(BUILD_VENV)/bin/python scripts/build.py

$(INPUT_STAMP):
	@mkdir -p build && rm -f build/.inputs-* && touch $@

$(BUILD_STAMP):
	@scripts/venv $(BUILD_VENV) requirements/build.txt
	@touch $@

$(VENV_STAMP):
	@scripts/venv $(VENV) $(LOCKS)
	@touch $@

$(NODE_STAMP): | $(VENV_STAMP)
	@$(VENV)/bin/python scripts/node.py npm ci --no-audit --no-fund --loglevel=error
	@touch $@

test: $(BINARY) $(VENV_STAMP) $(NODE_STAMP) check
	@scripts/need curl=curl jq=jq /usr/sbin/nginx=nginx-light pgrep=procps promtool=prometheus /usr/lib/postgresql/15/bin/initdb=postgresql setpriv=util-linux
	@scripts/test

check: $(VENV_STAMP)
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/mypy
	$(VENV)/bin/python scripts/env_example.py --check
	$(VENV)/bin/python scripts/losses.py --check

bench: $(BINARY) $(VENV_STAMP)
	@scripts/need gcc=gcc /usr/include/stdio.h=libc6-dev nginx=nginx-light taskset=util-linux
	$(VENV)/bin/python -m bench.run $(BENCH)

lock: $(BUILD_STAMP) $(VENV_STAMP)
	scripts/lock

clean:
	rm -rf build dist $(VENV) node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .bench
