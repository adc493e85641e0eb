# Every target sets up what it needs; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.venv/ready: pyproject.toml constraints.txt scripts/setup
	@sh scripts/setup

setup: .venv/ready ## make .venv with everything that is needed, and install tools of the system
	@sh scripts/system-packages

demo: .venv/ready ## run the main job and explain each step
	@$(BIN)/python examples/docsearch/demo.py

check: .venv/ready ## lint, types, import rules, module sizes
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/pytest -q tests/architecture

test: .venv/ready ## run all tests, in two processes: most wait for something. JOBS=0: in one
	@sh scripts/system-packages
	@$(BIN)/python examples/docsearch/build.py
	@$(BIN)/pytest -q -n $(or $(JOBS),2) --dist loadfile --max-worker-restart 0

unit: .venv/ready ## run the tests of the cores only (seconds)
	@$(BIN)/pytest -q tests/unit tests/property tests/architecture

simulate: .venv/ready ## run the simulation: make simulate SEEDS=1000
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),200)

mutants: .venv/ready ## try mutated components on the engine: make mutants COUNT=100000
	@LATTICE_MUTANTS=$(or $(COUNT),10000) $(BIN)/pytest -q -s tests/integration/test_engine_mutants.py

chaos: .venv/ready ## kills, long bodies, crowds and long fuzzing, all random things printed with their seed (15 min)
	@LATTICE_CHAOS=1 LATTICE_HTTP_EXAMPLES=50000 $(BIN)/pytest -s -v tests/chaos tests/property/test_http_parsing.py --timeout=1800

test-wasmtime50: .venv/ready ## run the engine's tests with wasmtime 50.0.1
	@sh scripts/test-engine wasmtime50

test-python312: ## run the engine's tests with CPython 3.12, if there is one
	@sh scripts/test-engine python3.12

test-python313: ## run the engine's tests with CPython 3.13, if need be of a Debian 13 tree
	@sh scripts/test-engine python3.13

test-python314: ## run the engine's tests with CPython 3.14, if there is one
	@sh scripts/test-engine python3.14

bench: .venv/ready ## measure against peers and write bench/results/
	@sh scripts/system-packages wrk
	@$(BIN)/python -m bench all --json bench/results/latest.json

bench-report: .venv/ready ## draw bench/results/ as one HTML page
	@$(BIN)/python -m bench report bench/results/*.json -o bench/results/report.html

clean: ## remove what was built (not .venv)
	rm -rf .build .lattice .mypy_cache .ruff_cache .hypothesis dist

.PHONY: help setup demo check test unit simulate mutants chaos test-wasmtime50 test-python312 \
	test-python313 test-python314 bench bench-report clean
