# Everything from a fresh clone with nothing but Python 3.11+: each target makes what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2
export OMP_NUM_THREADS ?= 1

OLDEST := .venv-oldest
WHEEL  := .venv-wheel
PIP    := -m pip install --quiet --disable-pip-version-check --no-compile
TESTS  := -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations 10

.PHONY: help venv test test-oldest test-wheel check format demo docs bench bom audit clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable '.[dev]'
	touch $@

venv: $(STAMP) ## .venv with the package (editable) and the developers' tools

check: $(STAMP) ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers $(JOBS)
	$(BIN)/lint-imports

format: $(STAMP) ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: check ## check, then all tests
	$(BIN)/python $(TESTS)

test-oldest: ## all tests with the oldest versions that pyproject.toml allows (Python 3.11 or 3.12), in .venv-oldest
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(PYTHON) .ci/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python $(PIP) --constraint $(OLDEST)/constraints.txt --editable '.[dev]'
	$(OLDEST)/bin/python .ci/import_all.py src
	$(OLDEST)/bin/python $(TESTS)

test-wheel: $(STAMP) ## wheel and sdist into dist/; the sdist's tests against the wheel, installed into an empty .venv-wheel
	rm -rf dist $(WHEEL)
	$(BIN)/python -m hatchling build -d dist
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python $(PIP) dist/*.whl
	mkdir $(WHEEL)/sdist
	tar -xzf dist/*.tar.gz -C $(WHEEL)/sdist --strip-components 1
	cd $(WHEEL)/sdist && ../bin/python .ci/import_all.py ../lib
	cd $(WHEEL) && bin/semiovs --help && bin/semiovs list presets && bin/semiovs demo --steps 5 --out demo
	$(WHEEL)/bin/python $(PIP) "$$(echo dist/*.whl)[dev]"
	cd $(WHEEL)/sdist && ../bin/python $(TESTS)

demo: $(STAMP) ## the story on made-up images, in semiovs-demo/report.html (a few minutes)
	env -u OMP_NUM_THREADS $(BIN)/semiovs demo

docs: $(STAMP) ## HTML documentation in docs/_build/html
	$(BIN)/python $(PIP) --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(STAMP) ## benchmarks, as JSON under docs/results
	$(BIN)/python -m benchmarks

bom: $(STAMP) ## dist/sbom.cdx.json (CycloneDX) and dist/licences.md: what semiovs and its extras are made of, as installed
	$(BIN)/python .ci/bill_of_materials.py

audit: $(STAMP) ## known vulnerabilities of what is installed, by the public advisories (before a release; needs them at hand)
	$(BIN)/python $(PIP) pip-audit
	$(BIN)/python -m pip_audit --skip-editable

clean: ## remove what can be made again
	rm -rf $(VENV) $(OLDEST) $(WHEEL) docs/_build build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
