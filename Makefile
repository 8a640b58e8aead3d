# Everything runs from a checkout on a machine with Python >= 3.11 and make: each target makes .venv when it is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run test test-unit crash-campaign lint format peers bench budget clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

run: $(STAMP)
	$(BIN)/pymta -c conf run

# Real peers (Debian's Postfix as oracle, swaks, ...) are unpacked into .peers; nothing of the system's is installed or started.
peers:
	sh tests/peers.sh

# Half of a worker's time is waiting for programs, so there is one more than a small machine has cores. The slow tests
# lie together: who has done with its share takes from that of others.
WORKERS ?= 3
PYTEST  := $(BIN)/pytest -n $(WORKERS) --dist worksteal

test: $(STAMP) peers
	$(PYTEST) tests

test-unit: $(STAMP)
	$(PYTEST) tests/unit tests/transcripts

# Kills the program under load ROUNDS times at random moments; prints what was acknowledged, lost and repeated.
ROUNDS ?= 100
crash-campaign: $(STAMP)
	PYMTA_CRASH_ROUNDS=$(ROUNDS) PYMTA_CRASH_SEED=$$$$ $(BIN)/pytest -s tests/crash/test_crash_system.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Each case beside Debian's Postfix; about a quarter of an hour on a quiet machine.
bench: $(STAMP) peers
	$(BIN)/python -m bench
	$(BIN)/python -m bench.authentication

# Where each microsecond of a message goes, into docs/performance.md.
budget: $(STAMP) peers
	$(BIN)/python -m bench.budget --write docs/performance.md

clean:
	rm -rf $(VENV) .peers
