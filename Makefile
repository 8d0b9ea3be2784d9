# Everything from a fresh clone with nothing but Python 3.11+: each target makes what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2
export OMP_NUM_THREADS ?= 1

.PHONY: help venv test check format demo docs bench clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

venv: $(STAMP) ## .venv with the package (editable) and the developers' tools

check: $(STAMP) ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: check ## check, then all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --durations 10

demo: $(STAMP) ## the story on made-up images, in semiovs-demo/report.html (a few minutes)
	env -u OMP_NUM_THREADS $(BIN)/semiovs demo

docs: $(STAMP) ## HTML documentation in docs/_build/html
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(STAMP) ## benchmarks, as JSON under docs/results
	$(BIN)/python -m benchmarks

clean: ## remove what can be made again
	rm -rf $(VENV) docs/_build build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
