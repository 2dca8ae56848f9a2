# `make run` and `make test` do all the set-up themselves. `make help` lists the rest.
VENV ?= .venv
BIN := $(VENV)/bin
# More options for the verb: make run ARGS="--filter mmio --jobs 8"
ARGS ?=
# The record of the last `make run`, case by case: it survives Ctrl-C and a crash.
RESULT ?= .results/matrix.jsonl
# The run before that: `make run` moves the record there, whole or not, before it starts anew.
PREVIOUS = $(RESULT).previous
# Options that name a result themselves, or need none.
OWN_RESULT = $(filter --json% --resume% --repro% --list --help -h,$(ARGS))
export VENV
# Where there is no KVM at all, the matrix runs inside Debian's 6.1 in an emulator.
KVM ?= /dev/kvm
IN_LAB := $(if $(wildcard $(KVM)),,lab run --kernel debian:6.1 --backend svm --)

.DEFAULT_GOAL := help
.PHONY: help run test test-lab setup-run setup-test lint format bench-matrix bench-abi zipapp lock clean

help: ## show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

run: setup-run ## check this kernel: the ioeventfd matrix on /dev/kvm
	@mkdir -p $(dir $(RESULT))
	@$(if $(OWN_RESULT),,if [ -s $(RESULT) ]; then mv -f $(RESULT) $(PREVIOUS); fi)
	$(if $(IN_LAB),@echo "there is no $(KVM): checking Debian's kernel 6.1 in an emulator" >&2)
	@$(BIN)/kvmabi $(IN_LAB) matrix $(if $(OWN_RESULT),,--json $(RESULT)) $(ARGS)

test: setup-test lint ## lint, type check, and run all tests but the longest of the lab
	@$(BIN)/python -m pytest -m "not lab_full" $(ARGS)

test-lab: setup-test ## boot kernels in an emulator: all of tests/lab, and nothing is skipped
	@KVMABI_REQUIRE_LAB=1 $(BIN)/python -m pytest tests/lab $(ARGS)

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
