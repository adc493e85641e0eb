# Every target sets up what it needs; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.venv/ready: pyproject.toml constraints.txt scripts/setup
	@sh scripts/setup

setup: .venv/ready ## make .venv with everything that is needed

demo: .venv/ready ## run the main job and explain each step
	@$(BIN)/python examples/docsearch/demo.py

check: .venv/ready ## lint, types, import rules, module sizes
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/pytest -q tests/architecture

test: .venv/ready ## run all tests
	@$(BIN)/python examples/docsearch/build.py
	@$(BIN)/pytest -q

unit: .venv/ready ## run the tests of the cores only (seconds)
	@$(BIN)/pytest -q tests/unit tests/property tests/architecture

simulate: .venv/ready ## run the simulation: make simulate SEEDS=1000
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),200)

bench: .venv/ready ## measure against peers and write bench/results/
	@$(BIN)/python -m bench all --json bench/results/latest.json

bench-report: .venv/ready ## draw bench/results/ as one HTML page
	@$(BIN)/python -m bench report bench/results/*.json -o bench/results/report.html

clean: ## remove what was built (not .venv)
	rm -rf .build .lattice .mypy_cache .ruff_cache .hypothesis dist

.PHONY: help setup demo check test unit simulate bench bench-report clean
