# `make` lists the targets; `make check` is what CI checks.
PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help check format lint types layers test

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

check: lint types layers test ## everything CI checks

format: ## bring the code into its form
	$(PYTHON) -m ruff format
	$(PYTHON) -m ruff check --fix

lint: ## form and lint rules
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m ruff check

types: ## mypy, strict
	$(PYTHON) -m mypy

layers: ## who may import whom
	.venv/bin/lint-imports

test: ## all tests
	$(PYTHON) -m pytest
