# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
# What one process has compiled, the others read: packages are installed without that step.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# Processes for the tests: each of them imports everything, and compiles kernels.
TEST_PROCESSES ?= 3

.PHONY: demo test test-light check docs bench clean

$(VENV)/.runtime: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP_INSTALL) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/$(PIP_INSTALL) -e '.[dev]'
	touch $@

# What the demo uses: its trial, networks beside trees (torch: 2.7 GB from the plain registry on Linux), and what serves its runs.
$(VENV)/.demo: $(VENV)/.runtime
	$(BIN)/$(PIP_INSTALL) -e '.[demo,learn,serve]'
	touch $@

demo: $(VENV)/.demo
	$(BIN)/largesse demo

# The commands in an environment without torch and other extras.
LIGHT := .venv-light
$(LIGHT)/.ready: pyproject.toml constraints.txt
	test -x $(LIGHT)/bin/python || $(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/$(PIP_INSTALL) -e . pytest pytest-xdist pytest-timeout
	touch $@

# The service, and its client, with the packages that they need and no others.
ALONE := .venv-alone
$(ALONE)/.ready: requirements-serve.txt constraints.txt
	test -x $(ALONE)/bin/python || $(PYTHON) -m venv $(ALONE)
	$(ALONE)/bin/$(PIP_INSTALL) -r requirements-serve.txt \
	  httpx pytest pytest-timeout
	touch $@

test-light: $(LIGHT)/.ready $(ALONE)/.ready
	$(LIGHT)/bin/python -m pytest -n 2 tests/light
	PYTHONPATH=src $(ALONE)/bin/python -m pytest --noconftest tests/light/test_serving_alone.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadgroup

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadgroup

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) $(LIGHT) $(ALONE) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
