# Everything starts here: `make demo` shows the platform at work, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `cpu` installs faiss-cpu, `gpu` faiss-gpu: both packages own the module `faiss`, so exactly one.
ACCELERATOR ?= cpu
DATA ?= demo-data
STAMP := $(VENV)/.installed-$(ACCELERATOR)

.PHONY: help install system demo demo-byod up test lint format test-faults test-security wheel-check clean

help:
	@echo "make demo         install, generate the tiny world, run four submissions, show the board, keep serving"
	@echo "make demo-byod    serve a generated gallery, bring it as data, show it on the byod board"
	@echo "make test         lint, types, import contracts and all tests"
	@echo "make up           serve the platform over \$$DATA (default demo-data)"
	@echo "make install      the virtual environment alone      make lint / make format"
	@echo "make test-security  the hostile corpus, without and with each layer of the sandbox, fuzzing, who may do what"
	@echo "make test-faults  slow fault-injection tests         make wheel-check  the built wheel in an empty environment"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@scripts/system-packages venv
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[server,worker,$(ACCELERATOR),dev]'
	@touch $@

system:
	@scripts/system-packages bubblewrap

demo: install system
	$(BIN)/datacomp demo --data-dir $(DATA)

demo-byod: install system
	$(BIN)/datacomp demo-byod --data-dir $(DATA)

up: install system
	$(BIN)/datacomp up --data-dir $(DATA)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install system lint wheel-check
	$(BIN)/pytest -n 2 --no-loadscope-reorder

# How much they do: DATACOMP_FAULTS_COUNT (default 200 kills), and what: DATACOMP_FAULTS_SEED.
test-faults: install system
	$(BIN)/pytest -m faults tests

# All of tests/security, what the default suite runs of it included.
test-security: export DATACOMP_SECURITY_COUNT ?= 100000
test-security: export DATACOMP_SCHEMATHESIS_COUNT ?= 100
test-security: install system
	$(BIN)/pytest -n 2 --no-loadscope-reorder --timeout=3000 -m 'not faults and not gpu' tests/security

wheel-check: install
	PYTHON=$(PYTHON) scripts/wheel-check $(BIN)/uv

clean:
	rm -rf $(VENV) $(DATA) dist build .mypy_cache .ruff_cache .pytest_cache
