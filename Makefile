# `make` lists the targets; `make check` is what CI checks.
PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help check format lint types layers test bench-smoke lock

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

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

bench-smoke: ## hot answers beside nginx, in less than a minute; needs nginx and wrk
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(PYTHON) benchmarks smoke

LOCK := $(PYTHON) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --all-extras pyproject.toml

lock: ## pin what pyproject.toml asks for
	$(LOCK) -o requirements.lock
	$(LOCK) --group test -o requirements-test.lock
	printf 'hatchling>=1.33\n' | $(PYTHON) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links --no-annotate -o requirements-build.lock -
