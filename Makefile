# Two commands do all the set-up: `make demo` and `make test`. Python 3.11 or newer, make and a package registry are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
REQUIREMENTS := pyproject.toml constraints.txt
# one thread for each worker: small networks gain nothing from more, and workers would fight for the cores
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MPLBACKEND=Agg
WORKERS ?= 2
PYTEST_ARGS ?=
POSTER_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: demo poster test slow lint types format bench peers clean help

demo: $(VENV)/.installed-examples  ## set up and fit two models to real and simulated spikes; says where results are
	PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

poster: $(VENV)/.installed  ## experiments A to D on the sleep networks: all figures and the table (docs/poster)
	$(ONE_THREAD) $(BIN)/python examples/poster/run_all.py $(POSTER_ARGS)

test: $(VENV)/.installed-test  ## set up and run the tests, the slow ones excepted
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

slow: $(VENV)/.installed-test  ## run the slow tests
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) -m slow $(PYTEST_ARGS)

lint: $(VENV)/.installed-lint  ## style and formatting (ruff)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-test $(VENV)/.installed-lint  ## types (pyright)
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.installed-lint  ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.installed-bench  ## run every benchmark with its peers; writes benchmarks/RESULTS.md (half an hour)
	$(BIN)/python benchmarks/run_all.py

peers: $(VENV)/.installed  ## time to fit against brian2modelfitting, which gets an environment of its own
	sh benchmarks/peers/brian2modelfitting.sh
	$(BIN)/python -W ignore benchmarks/peer_fit.py

clean:  ## remove what make, the tests and the demo wrote, the virtual environment included
	rm -rf $(VENV) runs/demo build dist .pytest_cache .ruff_cache .hypothesis
	find eqsnn tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@sed -nE 's/^([a-z]+):.*  ## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "eqsnn needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(REQUIREMENTS) | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

# each set of extras on its own stamp, so that a second `make` installs nothing
$(VENV)/.installed-%: $(VENV)/.installed
	$(INSTALL) --editable '.[$*]'
	@touch $@
