# Everything a user or a developer runs. Both commands work on a bare Debian 12 with root:
#   make demo    install, pull or make the images, apply specs/wordpress.yaml, wait until the blog answers, print its URL
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
	@# nothing here needs it, and it puts itself in the way of every start of Python (0.5 ms)
	$(BIN)/python -m pip uninstall --quiet --disable-pip-version-check --yes setuptools
	$(BIN)/python -m compileall -q reconciler
	touch $@

$(BIN)/.dev: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml","rb"))["dependency-groups"]["dev"])')
	touch $@

.PHONY: images
images: ## build/images/: what the demo and the tests run, from Debian packages; only what is missing or changed
	@examples/images/build.py

.PHONY: demo
demo: install ## WordPress and MariaDB, by specs/wordpress.yaml; prints the blog's address
	@examples/demo

.PHONY: demo-down
demo-down: install ## the demo's containers go, its volumes stay
	@$(BIN)/reconciler down specs/wordpress.yaml

# What only tests need, beside what the engine needs.
.PHONY: dev
dev: install $(BIN)/.dev ## what `make test` needs
	@examples/install-packages strace runc iproute2 iptables tini catatonit docker-registry openssl mmdebstrap e2fsprogs skopeo \
	  $(if $(filter x86_64,$(shell uname -m)),qemu-system-x86)

.PHONY: lint
lint: dev ## format and lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check

.PHONY: contracts
contracts: dev ## who may import whom
	$(BIN)/lint-imports

.PHONY: types
types: dev ## mypy, strict
	$(BIN)/mypy

.PHONY: schemas
schemas: dev ## generated files are as the models say
	$(BIN)/python -m reconciler.spec.generate --check

.PHONY: test
test: lint contracts types schemas images ## all of these, then the tests; fails when a test was skipped that could have run
	RECONCILER_TEST_STRICT=1 $(BIN)/pytest $(TESTS)

.PHONY: test-vm
test-vm: dev images ## inside a Debian 12 guest with systemd, cgroup v2, AppArmor and a reboot (ARGS='-k apparmor': what pytest is told)
	$(BIN)/python tests/vm/run.py $(ARGS)

.PHONY: torture
torture: dev images ## ten minutes of simulated machines on which all fails; then kill `apply` before and after every effect
	$(BIN)/python tests/simulated/torture.py --seconds $(or $(SECONDS),600)
	RECONCILER_TEST_TORTURE=1 $(BIN)/pytest -s tests/engine/test_engine_crashes.py

.PHONY: fuzz
fuzz: dev ## feed strangers' bytes to all that takes them, guided by coverage (SECONDS=60 each; ONLY=layer)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	@cd tests/fuzz && for target in $(or $(ONLY),$$(PYTHONPATH=../.. ../../$(BIN)/python -c 'import targets; print(*targets.TARGETS)')); do \
		../../$(BIN)/python fuzz.py $$target $(or $(SECONDS),60); done

.PHONY: soak
soak: dev images ## a thousand containers come and go, fifty at a time; two hundred crash in a loop (a quarter of an hour)
	RECONCILER_TEST_SOAK=1000 nice $(BIN)/pytest -s tests/engine/test_engine_soak.py
	nice $(BIN)/python bench/crashloop.py

.PHONY: bench
bench: install ## beside docker-compose, docker run, podman run: the table in docs/benchmarks.md (QUICK=1, ROUNDS=N, PART=single)
	@bench/install-peers
	@$(PYTHON) examples/images/build.py tiny
	@$(PYTHON) bench/run.py $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(addprefix --only ,$(ONLY)) $(addprefix --part ,$(PART))
