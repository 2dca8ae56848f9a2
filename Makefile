# `make run` and `make test` do all the set-up themselves. `make help` lists the rest.
VENV ?= .venv
BIN := $(VENV)/bin
# More options for the verb: make run ARGS="--filter mmio --jobs 8"
ARGS ?=
# The record of the last `make run`, case by case: it survives Ctrl-C and a crash.
RESULT ?= .results/matrix.jsonl
export VENV

.DEFAULT_GOAL := help
.PHONY: help run test setup-run setup-test lint format bench-matrix bench-abi zipapp lock clean

help: ## show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

run: setup-run ## check this kernel: the ioeventfd matrix on /dev/kvm
	@mkdir -p $(dir $(RESULT))
	@$(BIN)/kvmabi matrix $(if $(filter --json% --resume%,$(ARGS)),,--json $(RESULT)) $(ARGS)

test: setup-test lint ## lint, type check, and run all tests
	@$(BIN)/python -m pytest $(ARGS)

lint: setup-test ## ruff and mypy alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup-test ## let ruff rewrite the sources
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench-matrix: setup-test ## cases a second, beside one VM at a time
	@$(BIN)/python tools/bench_matrix.py $(ARGS)

bench-abi: setup-test ## reading, writing and importing the ABI, beside pycparser and gcc
	@$(BIN)/python tools/bench_abi.py $(ARGS)

zipapp: setup-run ## dist/kvmabi.pyz: all of kvmabi in one file, for a bare Python
	@$(BIN)/python tools/build_zipapp.py $(ARGS)

setup-run:
	@tools/setup.sh run

setup-test:
	@tools/setup.sh test

lock: ## resolve pyproject.toml anew into requirements/*.txt
	@tools/lock.sh

clean: ## remove the environment, caches and results
	rm -rf $(VENV) .lock-venv .results .pytest_cache .mypy_cache .ruff_cache dist build
