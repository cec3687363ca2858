# On a new machine run `make run` or `make test`: both create the Python environment first.
SHELL := /bin/sh
PYTHON ?=
BIN := .venv/bin
ARGS ?=

.PHONY: run test test-fast silent standby cluster upgrade night chaos barrier fuzz overload check check-apis audit test-versions hooks bench screenshots secrets image-steps lock lock-peers clean
.DEFAULT_GOAL := run

run: .venv/.ready
	@exec $(BIN)/python -m infra.local $(ARGS)

# Three at a time on two cores: many tests wait for something.
test: .venv/.ready
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# Unit, contract and architecture tests: under a minute.
test-fast: .venv/.ready
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/architecture tests/unit tests/contract $(ARGS)

# The unit and architecture tests with the oldest Python that is supported and with the image's, each in an
# environment of its own.
test-versions:
	@sh infra/test_versions.sh $(ARGS)

# One side after the other says nothing any more, with real processes and the real time limits: ten minutes.
silent: .venv/.ready
	@$(BIN)/python -m pytest -m silent --log-cli-level=INFO tests/chaos/test_silence.py $(ARGS)

# A night with a tenth of the country's guests (R12): two minutes. NIGHT_GUESTS=1000000 is all of them.
night: .venv/.ready
	@NIGHT_GUESTS=$${NIGHT_GUESTS:-100000} $(BIN)/python -m pytest -q tests/acceptance/test_nightly_at_scale.py $(ARGS)

# The primary PostgreSQL killed under load and its standby promoted, with the whole stack: about a minute.
standby: .venv/.ready
	@$(BIN)/python -m pytest -m standby --log-cli-level=INFO tests/chaos/test_standby.py $(ARGS)

# Three nodes of RabbitMQ on this machine, and the one that leads the queues killed every 20 seconds: five minutes.
cluster: .venv/.ready
	@$(BIN)/python -m pytest -m cluster --log-cli-level=INFO tests/chaos/test_cluster.py $(ARGS)

# The release before and this one side by side on the same databases and broker, forward and back: five minutes, and a
# Python environment for the release before. Another one: make upgrade RELEASE_BEFORE=TAG
upgrade: .venv/.ready
	@RELEASE_BEFORE="$(RELEASE_BEFORE)" $(BIN)/python -m pytest -m upgrade --log-cli-level=INFO tests/chaos/test_upgrade.py $(ARGS)

# Faults of every kind under load, three seeds: docs/reliability.md. One of them again: make chaos ARGS="--seed 7".
chaos: .venv/.ready
	@$(BIN)/python -m tests.chaos $(ARGS)

# The promise I5 for many more interleavings than in `make test`: docs/barrier.md.
barrier: .venv/.ready
	@BARRIER_EXAMPLES=$${BARRIER_EXAMPLES:-20000} $(BIN)/python -m pytest -q tests/unit/identity/test_interleavings.py tests/unit/identity/test_safeguards.py $(ARGS)

# Mutated replies and messages, a million, and 20,000 requests to each API, with progress: docs/reliability.md.
# `make fuzz TIMES=0.1` is a tenth; the seed that is shown repeats a run.
TIMES ?= 1
SEED ?= $(shell date +%s)
fuzz: .venv/.ready
	@echo "make fuzz TIMES=$(TIMES) SEED=$(SEED)"
	@FUZZ_TIMES=$(TIMES) FUZZ_SEED=$(SEED) $(BIN)/python -m pytest -q --log-cli-level=INFO --timeout 7200 \
	  tests/unit/registration/adapters/home_library/sip2/test_mutated_replies.py \
	  tests/unit/registration/adapters/home_library/test_mutated_replies.py \
	  tests/unit/messaging/test_mutated_messages.py \
	  tests/integration/registration_api/test_any_input.py tests/integration/identity_api/test_any_input.py $(ARGS)

# Ten times what the product bears, for a minute: what is refused, how the rest fares, and what is left of it.
overload: .venv/.ready
	@$(BIN)/python -m tests.benchmarks overload

check: .venv/.ready
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy services shared infra tests
	@$(BIN)/lint-imports
	@$(BIN)/deptry services shared
	@$(BIN)/deptry tests infra --ignore DEP002,DEP004
	@$(MAKE) --no-print-directory check-apis audit

# Known vulnerabilities of the locked packages: fails on a finding, says so when there is no network.
AUDIT := .artefacts/pip-audit
audit: .venv/.ready $(AUDIT)/.ready
	@$(BIN)/python -m infra.audit $(AUDIT)/bin/pip-audit requirements.txt requirements-dev.txt

$(AUDIT)/.ready: infra/audit/requirements.txt
	@$(BIN)/python -m venv --without-pip $(AUDIT)
	@$(BIN)/python -m pip --python $(AUDIT)/bin/python install --quiet --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

# The descriptions of the APIs (redocly) and of the messages (the parser of AsyncAPI).
APIS := .artefacts/apis
API_TOOLS := .artefacts/api-tools
check-apis: .venv/.ready $(API_TOOLS)/.ready
	@$(BIN)/python -m infra.api_tools $(APIS)
	@REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true node $(API_TOOLS)/node_modules/@redocly/cli/bin/cli.js lint \
	  --config $(API_TOOLS)/redocly.yaml --format github-actions $(APIS)/*.json
	@node $(API_TOOLS)/asyncapi.mjs shared/messaging/asyncapi.yaml

$(API_TOOLS)/.ready: infra/api_tools/package-lock.json infra/api_tools/asyncapi.mjs infra/api_tools/redocly.yaml infra/api_tools/install.sh
	@sh infra/api_tools/install.sh $(API_TOOLS)
	@touch $@

hooks: .venv/.ready
	@$(BIN)/pre-commit install

bench: .venv/.ready
	@$(BIN)/python -m tests.benchmarks $(ARGS)

# The pictures of README.md and docs/, from a stack of its own.
screenshots: .venv/.ready
	@$(BIN)/python -m tests.screenshots

# What compose needs and the repository must not hold; nothing that exists is changed. `sudo make secrets` gives each
# file to the user of the container that reads it. Servers of your own, without compose:
# make secrets ARGS="--postgres HOST:PORT --rabbitmq HOST:PORT"
secrets:
	@$(or $(PYTHON),python3) -m infra.docker.secrets $(ARGS)

# The steps of the Dockerfile, as far as they go without Docker: about a minute, and the locked packages.
image-steps: .venv/.ready
	@$(BIN)/python -m pytest -m image tests/integration/containers $(ARGS)

# Made again when the locked requirements, pyproject.toml or the script change.
.venv/.ready: requirements-dev.txt pyproject.toml infra/environment.sh
	@PYTHON="$(PYTHON)" sh infra/environment.sh .venv
	@touch $@

# The lock files hold hashes but no index: each machine has its own setting for where packages come from.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock:
	$(LOCK) --all-extras pyproject.toml -o requirements-dev.txt
	$(LOCK) -c requirements-dev.txt pyproject.toml -o requirements.txt
	$(LOCK) -c requirements-dev.txt infra/docker/build-tools.in -o requirements-build.txt
	$(LOCK) infra/audit/requirements.in -o infra/audit/requirements.txt

# The same for the environments of foreign peers that tests meet (tests/support/peers).
lock-peers:
	for peer in tests/support/peers/*.in; do $(LOCK) $$peer -o $${peer%.in}.txt; done

clean:
	rm -rf .venv .run .bench .artefacts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
