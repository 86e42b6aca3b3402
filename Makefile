# Everything a developer or a newcomer runs. The first use of a target builds what it needs in $(VENV).
#   make demo                 the system on a public clip, in two minutes (installs the base package only)
#   make test                 all tests that the installed extras allow;  make test EXTRAS=all  every test there is
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?=
JOBS ?= 2
PYTEST_ARGS ?=
DOCKER_CHECK_ARGS ?=

PARALLEL := unit contracts properties statistical
ALONE := hostile integration acceptance
ALL_EXTRAS := dev,detectors,vision,postgres,s3,cluster
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest
# One stamp for each set of extras; a larger set stands for the smaller ones, so that make demo after make test is quick.
BASE := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
ALL := $(VENV)/.installed-all
TOOLS := $(if $(filter all,$(EXTRAS)),$(ALL),$(DEV))
MANIFEST := pyproject.toml constraints.txt

.PHONY: help demo test check soak lint format types layers bench protos docs docker-check system clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(BASE)  ## the whole system on a public clip: answers, intervals, budget picture
	$(BIN)/python examples/demo.py

# Tests that start servers and sandboxes and watch the clock run alone, after the others.
test: $(TOOLS)  ## all tests (EXTRAS=all: with every optional part; PYTEST_ARGS=... goes to pytest)
	$(PYTEST) -n $(JOBS) $(wildcard $(addprefix tests/,$(PARALLEL))) $(PYTEST_ARGS)
	$(PYTEST) $(wildcard $(addprefix tests/,$(ALONE))) $(PYTEST_ARGS)

check: lint  ## lint and the fast tests, in seconds
	$(PYTEST) -q -n $(JOBS) tests/unit $(PYTEST_ARGS)

soak: $(TOOLS)  ## the tests that take minutes
	$(PYTEST) --soak -m slow $(PYTEST_ARGS)

lint: $(DEV)  ## style, formatting, layer rules, drift of generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/python scripts/generate_stubs.py --check
	$(BIN)/python scripts/generate_reference.py --check

format: $(DEV)  ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV)  ## mypy --strict
	$(BIN)/mypy

bench: $(TOOLS)  ## benchmarks: tables on the terminal, JSON in benchmarks/out/, pages in docs/results/
	$(BIN)/python scripts/bench.py

protos: $(DEV)  ## regenerate privid/rpc/v1 from protos/
	$(BIN)/python scripts/generate_stubs.py

docs: $(BASE)  ## regenerate the reference pages that are taken from the code
	$(BIN)/python scripts/generate_reference.py

docker-check:  ## run the Dockerfiles' steps in a scratch root file system (root, debootstrap; minutes)
	$(PYTHON) scripts/check_dockerfiles.py --report docs/results/docker.md $(DOCKER_CHECK_ARGS)

system:  ## install the system libraries that OpenCV needs (Debian and Ubuntu; root)
	apt-get update -q
	apt-get install -q -y --no-install-recommends python3-venv libgl1 libglib2.0-0

clean:  ## remove what make built
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache benchmarks/out demo dist build

# --- environments -----------------------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Privid needs Python 3.11 or newer; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "No virtual environment could be made. On Debian and Ubuntu, as root: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

# cv2 is imported once after installing: it is the part that needs libraries of the system.
define install
	@echo "Installing Privid$(if $(1), with $(1)) in $(VENV) ..."
	@$(PIP) -e '.$(if $(1),[$(1)])'
	@$(BIN)/python -c 'import cv2' || \
	  { echo "OpenCV does not load. On Debian and Ubuntu, as root: apt-get install libgl1 libglib2.0-0" >&2; exit 1; }
endef

$(BASE): $(BIN)/python $(MANIFEST)
	$(call install,)
	@touch $@

$(DEV): $(BIN)/python $(MANIFEST)
	$(call install,dev)
	@touch $(BASE) $@

$(ALL): $(BIN)/python $(MANIFEST)
	$(call install,$(ALL_EXTRAS))
	@touch $(BASE) $(DEV) $@
