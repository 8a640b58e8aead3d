# Everything runs from a checkout on a machine with Python >= 3.11 and make: each target makes .venv when it is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run test test-unit crash-campaign lint format peers bench clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

run: $(STAMP)
	$(BIN)/pymta -c conf run

# Real peers (Debian's Postfix as oracle, swaks, ...) are unpacked into .peers; nothing of the system's is installed or started.
peers:
	sh tests/peers.sh

test: $(STAMP) peers
	$(BIN)/pytest -n 2 tests

test-unit: $(STAMP)
	$(BIN)/pytest -n 2 tests/unit tests/transcripts

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

bench: $(STAMP) peers
	$(BIN)/python -m bench
	$(BIN)/python -m bench.authentication

clean:
	rm -rf $(VENV) .peers
