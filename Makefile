# make demo: set up, run the first study, write its report        make test: set up, run the fast tests
# make setup: the environment alone       make test-all: the slow tests too       make check: lint, types, layers
# make docs: the pages                    make clean: removes what make made

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OUT    ?= runs/recall

.PHONY: demo test test-slow test-all check setup docs clean

demo: setup
	$(BIN)/selfattn compare experiments/recall/study.yaml --out $(OUT)

# Six to seven minutes on 2 cores.
test: setup
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow"

# Every pair of entries, derivatives against finite differences, narrow dtypes, kills: another quarter of an hour, or more.
test-slow: setup
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m slow

test-all: test test-slow

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pyright

docs: setup
	$(BIN)/sphinx-build -q -W -b html docs docs/_build/html

setup: $(READY)

# Pinned by hash; the package itself is installed in place, with what the lock has.
$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# What make made, and nothing else: your own runs stay.
clean:
	rm -rf $(VENV) docs/_build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
