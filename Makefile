# Front door: `make demo`, `make test`. Each sets up .venv by itself and may be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# CI installs the tested pair of torch and torchvision; everyone else gets what fits the ranges in pyproject.toml.
PIN := $(if $(CI),-c .ci/constraints.txt,)
# One thread a process where processes share the cores; let the C library keep freed memory (2-3 x faster image gradients).
KEEP := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4294967296
TEST_ENV := OMP_NUM_THREADS=1 $(KEEP) MPLBACKEND=Agg
DEMO_ENV := MPLBACKEND=Agg
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-thorough lint docs bench soak audit clean

demo: $(VENV)/.core
	$(DEMO_ENV) $(BIN)/stimsynth demo --out demo

test: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not thorough"

# What `make test` leaves out: long statistics, real recordings, faults of all kinds.
test-thorough: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadgroup -m thorough

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site, without a network: open build/site/index.html. First every tutorial is run (about 8 CPU minutes; nothing
# where neither scripts nor packages changed) and compared with its page, and tables and plots with their records.
docs: $(VENV)/.dev
	$(BIN)/python -m scripts.handbook.tutorials --check
	$(TEST_ENV) $(BIN)/python -m scripts.figures --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(VENV)/.dev
	$(PIP) install --quiet $(PIN) -e '.[dev,bench]'
	$(KEEP) $(BIN)/python scripts/bench.py

# Licences of what is installed, and known vulnerabilities where pip-audit can reach its database.
audit: $(VENV)/.dev
	-$(PIP) install --quiet pip-audit
	$(BIN)/python scripts/audit.py

soak: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python -m scripts.soak $(SOAK)

clean:
	rm -rf $(VENV) demo build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "stimsynth needs Python 3.11 or newer; '$(PYTHON)' is older or missing. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml .ci/constraints.txt | $(BIN)/python
	@echo "Installing stimsynth into $(VENV) (about 5 minutes and 6 GB where torch comes with CUDA) ..."
	$(PIP) install --quiet $(PIN) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml .ci/constraints.txt | $(BIN)/python
	@echo "Installing stimsynth and its test tools into $(VENV) (about 5 minutes and 6 GB where torch comes with CUDA) ..."
	$(PIP) install --quiet $(PIN) -e '.[dev]'
	$(PIP) install --quiet --no-deps torch-lucent==0.1.8
	@touch $(VENV)/.core $@
