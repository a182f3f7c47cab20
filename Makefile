# Everything a user or a developer runs. Both commands work on a bare Debian 12 with root:
#   make demo    install, make the images, apply specs/wordpress.yaml, wait until the blog answers, print its URL
#   make test    install, then format, lint, import contracts, types, schema drift, tests
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DEBIAN_FRONTEND := noninteractive

.PHONY: help
help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

.PHONY: system
system: ## Debian packages that the engine needs
	@examples/install-packages crun conmon nftables python3-venv

.PHONY: install
install: system $(BIN)/.installed ## the command at .venv/bin/reconciler

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fast]'
	$(BIN)/python -m compileall -q reconciler
	touch $@

$(BIN)/.dev: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml","rb"))["dependency-groups"]["dev"])')
	touch $@

.PHONY: images
images: ## build/images/: what the demo and the tests run, from Debian packages; only what is missing or changed
	@examples/images/build.py

.PHONY: bench
bench: install ## beside docker-compose, docker run, podman run: the table in docs/benchmarks.md (QUICK=1, ROUNDS=N)
	@bench/install-peers
	@$(PYTHON) examples/images/build.py tiny
	@$(PYTHON) bench/run.py $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(addprefix --only ,$(ONLY))
