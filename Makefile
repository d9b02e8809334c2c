# make play    set up .venv, train the Pong agent, evaluate it, draw it
# make test    set up .venv with the test extras and run the fast suite
# make levels  the tests of all that rounds, as two older kinds of processor would run them (on x86)
# make check   lint, format and types
# make hooks   the same before every commit
# make coverage      which lines and branches the fast suite runs
# make test-lowest   the fast suite with the oldest versions that pyproject.toml allows, in .venv-lowest
# make games   add other people's games and digits (the extras) to .venv and test with them
# make bench   speed beside sb3-contrib and the machine's limit, in one run of some minutes
# make bench-full   what each part costs at every size with every other, an hour or more
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOWEST := .venv-lowest
# Exact versions, of the build tools too.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# One process a core; tests that share a training stay on the worker that made it where that costs no waiting.
ALL_CORES := -n auto --maxprocesses 8 --dist worksteal
# What computes: everything in which a product, a sum or a nonlinearity may round otherwise.
ROUNDING := tests/cells tests/network tests/testing $(addprefix tests/learners/,ppo replay dqn sac evolution sequences files/test_contrib_zip.py)
GENERIC := ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 OPENBLAS_CORETYPE=Nehalem NUMBA_CPU_NAME=generic
HASWELL := ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 OPENBLAS_CORETYPE=Haswell NUMBA_CPU_NAME=haswell

.PHONY: play test test-lowest slow levels games check hooks coverage bench bench-full clean

play: $(VENV)/.core
	$(BIN)/rlrnn train pong-gru --out runs/play --overwrite
	$(BIN)/rlrnn watch runs/play

test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" $(ALL_CORES) $(ARGS)

levels: $(VENV)/.test
ifeq ($(shell uname -m),x86_64)
	$(GENERIC) $(BIN)/python -m pytest -m "not slow" $(ALL_CORES) $(ROUNDING) $(ARGS)
	$(HASWELL) $(BIN)/python -m pytest -m "not slow" $(ALL_CORES) $(ROUNDING) $(ARGS)
else
	@echo "levels of another architecture: nothing to do"
endif

slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow $(ARGS)

games: $(VENV)/.games
	$(BIN)/python -m pytest tests/games tests/envs/engines/test_ids.py tests/test_examples.py $(ARGS)

check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

hooks: $(VENV)/.check
	$(BIN)/pre-commit install

# Where tests fail the report is told all the same.
coverage: $(VENV)/.check
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not slow" $(ALL_CORES) $(ARGS); tests=$$?; \
	$(BIN)/coverage combine -q && $(BIN)/coverage report && exit $$tests

test-lowest: $(LOWEST)/.test
	$(LOWEST)/bin/python -m pytest -m "not slow" $(ALL_CORES) $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/speed.py $(ARGS)

bench-full: $(VENV)/.bench
	$(BIN)/python benchmarks/speed.py grid --full $(ARGS)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rlrnn needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[test]'
	touch $@

$(VENV)/.games: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[test,atari,box2d,digits,minigrid,popgym,pybullet]'
	touch $@

$(VENV)/.bench: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[test]'
	touch $@

$(VENV)/.check: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[test,check]'
	touch $@

$(LOWEST)/.test: export PIP_CONSTRAINT := $(CURDIR)/constraints-lowest.txt
$(LOWEST)/.test: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install -q -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) build dist .mypy_cache .ruff_cache .pytest_cache
