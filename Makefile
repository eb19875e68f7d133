# Every target prepares .venv on its own; the second time this costs nothing.

PYTHON ?= python3
PRESET ?= quick
SEEDS ?= 0 1 2
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
READY := .venv/ready
READY_BENCH := .venv/ready-bench

# Two workers beside OpenMP's own threads would spin on the same cores.
UNIT := OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 SYNTHLAB_WORKERS=1
# Long files first, see tests/conftest.py: the last ones then end together.
PYTEST_UNITS := $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder
COVERAGE := --cov=synthlab --cov-branch --cov-report= --cov-fail-under=0
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
# Cells of a notebook must stay in order, so the random order of the unit tests is off.
NBVAL := -p no:randomly --nbval-lax --nbval-current-env --nbval-cell-timeout=600
ROOT_FLAG := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help run results test coverage faults soak vulnerabilities jupyter bench clean

help:
	@echo "make run              the whole data path with PRESET=$(PRESET) (tiny, quick, paper, cluster)"
	@echo "make results          the study with SEEDS=$(SEEDS), then the notebooks, written back for committing"
	@echo "make jupyter          JupyterLab with the notebooks, on this machine only"
	@echo "make test             style, types, unit tests, faults, notebooks"
	@echo "make coverage         the unit tests again, twice as slow, with the share of lines and branches that they run"
	@echo "make faults           injects every fault of tests/faults, and writes its table"
	@echo "make soak             kills and fuzzes for long what the tests kill and fuzz for seconds"
	@echo "make vulnerabilities  asks PyPI for known vulnerabilities of the pinned versions (needs a network)"
	@echo "make bench            timings against plain Python, C++ and others, saved to build/bench.json (ONLY=learning ...)"
	@echo "make clean            delete caches and build/ (keeps .venv and data/)"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "synthlab needs Python 3.11 or newer: make PYTHON=...")'
	@test -x $(BIN)/pip || { echo "Preparing .venv (a few minutes, once)"; $(PYTHON) -m venv .venv; }
	@$(INSTALL) -e '.[dev]'
	@touch $@

$(READY_BENCH): $(READY)
	@$(INSTALL) -e '.[dev,bench]'
	@touch $@

run: $(READY)
	@OMP_WAIT_POLICY=passive $(BIN)/python -m synthlab run $(PRESET)

results: $(READY)
	@OMP_WAIT_POLICY=passive SYNTHLAB_RESULTS=data/results $(BIN)/python -m synthlab study $(PRESET) --seeds $(SEEDS)
	@OMP_WAIT_POLICY=passive SYNTHLAB_RESULTS=data/results $(BIN)/python -m synthlab run $(PRESET) --in-place

jupyter: $(READY)
	@$(BIN)/jupyter lab $(ROOT_FLAG) --ip=127.0.0.1 notebooks

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@rm -rf build/test-store
	$(UNIT) $(PYTEST_UNITS)
	NUMBA_DISABLE_JIT=1 $(BIN)/pytest -q -m kernels
ifneq ($(NOTEBOOKS),)
	$(UNIT) SYNTHLAB_PRESET=tiny SYNTHLAB_STORE="$(CURDIR)/build/test-store" \
		$(BIN)/pytest -q -n 2 --dist loadscope $(NBVAL) notebooks
endif

coverage: $(READY)
	@rm -rf .coverage .coverage.*
	$(UNIT) $(PYTEST_UNITS) $(COVERAGE)
	NUMBA_DISABLE_JIT=1 $(BIN)/pytest -q -m kernels $(COVERAGE) --cov-append
	$(BIN)/coverage report --fail-under=90

faults: $(READY)
	@rm -rf build/faults
	$(UNIT) SYNTHLAB_FAULTS=1 $(PYTEST_UNITS) tests/faults --ignore tests/faults/test_table.py
	@$(BIN)/python tests/faults/table.py
	@$(BIN)/pytest -q tests/faults/test_table.py

soak: $(READY)
	$(UNIT) SYNTHLAB_SOAK=20 $(PYTEST_UNITS) \
		tests/faults/test_fuzz_interpreter.py tests/faults/test_store_machine.py tests/faults/test_numbers.py
	$(UNIT) $(BIN)/python tests/soak/parser.py
	$(UNIT) $(BIN)/python tests/soak/interrupts.py
	$(UNIT) $(BIN)/python tests/soak/study.py

vulnerabilities: $(READY)
	@$(INSTALL) pip-audit
	$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip

bench: $(READY_BENCH)
	@$(BIN)/python tests/benchmarks/run.py $(if $(ONLY),--only $(ONLY))

clean:
	@rm -rf build dist htmlcov coverage.xml .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis lightning_logs
	@find $(wildcard synthlab tests notebooks) -depth \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +
