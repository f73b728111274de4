# Everything runs in .venv; `setup` makes it, and the other targets call it.
PYTHON ?= python3.11
BIN := .venv/bin
TORCH := torch==2.13.0
DEMO := results/demo
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -q
QUICK := not ray and not slow and not tensorflow and not faults and not cluster

.PHONY: setup demo check test test-slow test-faults test-cluster clean

setup: .venv/.ready

.venv/.ready: pyproject.toml cluster/requirements.txt
	@echo "installing into .venv, PyTorch first: some minutes, without a word until something fails"
	command -v $(PYTHON) >/dev/null && $(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/python -m pip install --quiet "$(TORCH)"  # first and alone: other indexes may hold other builds of the pin
	$(BIN)/python -m pip install --quiet --requirement cluster/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	rm -rf $(DEMO)
	$(BIN)/dmlray synth $(DEMO)/tfrecords --max-frames 40
	$(BIN)/dmlray convert $(DEMO)/tfrecords --out $(DEMO)/data
	$(BIN)/dmlray search --data $(DEMO)/data --space search_spaces/smoke.yaml --name demo --results $(DEMO)
	$(BIN)/dmlray ensemble demo --top 5 --results $(DEMO)
	$(BIN)/dmlray report demo --results $(DEMO)
	@echo "compare the trials in MLflow: .venv/bin/dmlray ui --results $(DEMO)"

check: setup
	$(BIN)/ruff format --check dmlray tests
	$(BIN)/ruff check dmlray tests
	$(BIN)/mypy dmlray
	$(BIN)/codespell README.md results/README.md dmlray search_spaces
	$(PYTEST) -n 2 --dist loadscope -m "$(QUICK) and not thorough"

test: check
	$(PYTEST) -n 2 --dist loadscope -m "$(QUICK) and thorough"
	$(PYTEST) -m "ray and not slow and not tensorflow and not faults"

test-slow: setup
	$(BIN)/python -m pip install --quiet --no-deps --requirement cluster/dashboard.txt  # for jobs on a real head
	$(PYTEST) -m "slow"

test-faults: setup
	$(PYTEST) tests/faults -m "faults or ray"

test-cluster: setup  # as root, on Linux, with the packages openssh-server and rsync; what is missing is told
	$(PYTEST) tests/faults/test_hosts*.py -m "cluster" -rs

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
