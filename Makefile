# The two commands of a fresh machine are `make run` and `make test`; each makes its own environment.
SHELL := /bin/sh
PYTHON ?=
BIN := .venv/bin
ARGS ?=

.PHONY: run test check bench lock clean
.DEFAULT_GOAL := run

run: .venv/.ready
	@exec $(BIN)/python -m infra.local $(ARGS)

test: .venv/.ready
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/.ready
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy services shared infra tests
	@$(BIN)/lint-imports

bench: .venv/.ready
	@$(BIN)/python -m tests.benchmarks $(ARGS)

# Made anew whenever the lock or the project's own description changes.
.venv/.ready: requirements-dev.txt pyproject.toml infra/environment.sh
	@PYTHON="$(PYTHON)" sh infra/environment.sh .venv
	@touch $@

# Hashes only: where packages come from is the machine's own setting.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
lock:
	$(LOCK) --all-extras pyproject.toml -o requirements-dev.txt
	$(LOCK) --extra build -c requirements-dev.txt pyproject.toml -o requirements.txt

clean:
	rm -rf .venv .run .bench .artefacts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
