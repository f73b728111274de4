# Everything runs in .venv; `setup` makes it, and the other targets call it.
PYTHON ?= python3.11
BIN := .venv/bin
TORCH := torch==2.13.0

.PHONY: setup demo check test test-slow clean

setup: .venv/.ready

.venv/.ready: pyproject.toml cluster/requirements.txt
	command -v $(PYTHON) >/dev/null && $(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/python -m pip install --quiet "$(TORCH)"  # first and alone: other indexes may hold other builds of the pin
	$(BIN)/python -m pip install --quiet --requirement cluster/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	$(BIN)/python -m tests.demo

check: setup
	$(BIN)/ruff format --check dmlray tests
	$(BIN)/ruff check dmlray tests
	$(BIN)/mypy dmlray
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not ray and not slow and not tensorflow"

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "ray and not slow and not tensorflow"

test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "slow"

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
