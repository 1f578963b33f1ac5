# Two commands do everything: `make up` and `make test`. ARGS reaches the command behind the target.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: up test explore lint bench docs clean

up: $(VENV)/.examples        ## set up and run the stack with the example fleet
	@OUTRIDER_CONFIG=examples/fleet/outrider.toml $(BIN)/outrider up $(ARGS)

test: $(VENV)/.dev           ## run the tests
	@$(BIN)/python tests/prepare.py
	@$(BIN)/python -m pytest $(ARGS)

explore: $(VENV)/.dev        ## run long tests too, and search anew for what breaks a property
	@$(BIN)/python tests/prepare.py
	@$(BIN)/python -m pytest -m '' --hypothesis-profile=explore $(ARGS)

lint: $(VENV)/.dev           ## ruff, mypy and the import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.dev          ## every benchmark, one JSON line each
	@for file in $(filter-out %/harness.py %/record.py %/gorilla.py %/nab.py %/cache_policies.py,$(wildcard benchmarks/[a-z]*.py)); do $(BIN)/python -m benchmarks.$$(basename $$file .py) $(ARGS); done

docs: $(VENV)/.dev           ## write the generated pages
	@$(BIN)/python docs/generate.py

clean:                       ## remove the environment and all state
	@rm -rf $(VENV) .outrider build dist

$(VENV)/.examples: pyproject.toml constraints.txt
	@bash .ci/venv.sh $(PYTHON) $(VENV) examples && touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@bash .ci/venv.sh $(PYTHON) $(VENV) dev && touch $@ $(VENV)/.examples
