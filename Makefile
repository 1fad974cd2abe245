# Every target sets up what it needs from python3, pip and make alone.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
WORKERS ?= 2
READY  := $(VENV)/.ready
# Threads that wait for work must not spin where several processes share the cores: without this a
# small parallel loop takes ten times as long as soon as two test processes run.
test test-all mutants: export OMP_WAIT_POLICY = passive
# The tests start a hundred processes, which need not all compile the same sources.
test test-all: export PYTHONDONTWRITEBYTECODE =
test test-all: export PYTHONPYCACHEPREFIX = $(abspath $(VENV))/bytecode

.PHONY: demo test test-all tools lint mutants format bench docs clean

demo: $(READY)  ## train the convergence study on digits and write its report
	$(BIN)/batchnorm study run convergence --quick --out runs/demo

test: $(READY)  ## the default tests, on two cores
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-all: $(READY)  ## the default tests and the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

tools: $(READY)  ## install other people's packages, which some tests run with and else skip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
	  $$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["tools"])')

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mutants: $(READY)  ## plant bugs one at a time; NAMES="word word" takes those with such a name
	PYTHONPATH=tests $(BIN)/python -m mutants $(NAMES) --jobs $(WORKERS)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## accuracy and speed beside torch, in one run
	$(BIN)/python benchmarks/accuracy.py
	mkdir -p runs
	$(BIN)/batchnorm bench --quick --html runs/bench.html

docs: $(READY)  ## check that every example in the documentation runs
	$(BIN)/python -m pytest docs README.md

clean:
	rm -rf $(VENV) runs build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# The stamp is written last, so an interrupted installation is done again.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
