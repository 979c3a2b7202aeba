# Needs Python 3.11 or newer, git and make. Everything else is set up here,
# in .venv, by the first target that needs it.
#
#   make demo     simulate a recording, measure it, compare with the truth
#   make test     linters, types, arrows between the rooms, all tests
#   make test-browser   the page in Chromium, which is installed where that is possible
#   make test-latest   the same with the newest release of each dependency
#   make test-oldest   the same with the lowest releases that pyproject.toml declares
#   make constraints   write constraints.txt, the releases that demo and test install
#   make parity   the long comparison with dcnum, setting by setting
#   make faults   inject faults as often as the full matrix wants (hours)
#   make bench    measure speed and memory against the peers (hours; a quiet machine)
#   make wheel    build the wheel into dist/
#   make bundle   build a program that needs no Python into dist/cytovox (minutes)
#   make docs     write the generated pages again, and all as HTML into docs/_build/html
#   make truth    compare measured features with the simulator's truth again (minutes)
#   make clean    remove what was built here, .venv too

ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
EXE := .exe
else
PYTHON ?= python3
BIN := .venv/bin
EXE :=
endif

PY := $(BIN)/python$(EXE)
LATEST := $(subst .venv,.venv-latest,$(PY))
OLDEST := $(subst .venv,.venv-oldest,$(PY))
BUNDLE := $(subst .venv,.venv-bundle,$(PY))
UV := $(BIN)/uv$(EXE)
PIP := $(PY) -m pip --disable-pip-version-check
OUT ?= demo
# Files of tests run side by side, in the order of their names, so that long ones
# with few tests do not come last; -n 0 runs them one after another.
PYTEST_ARGS ?= -n auto --dist loadfile --no-loadscope-reorder
# Installed for the tests besides, e.g. TEST_WITH=torch for those of the models.
TEST_WITH ?=
# The releases that demo and test install; CONSTRAINTS= takes the newest ones.
CONSTRAINTS ?= constraints.txt
PIP_WITH := $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
BENCH_ARGS ?=
FAULTS_ARGS ?=
# E.g. --pictures docs/images, which takes those of the page anew.
BROWSER_ARGS ?=

export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-browser test-latest test-oldest constraints lint parity faults bench wheel bundle docs truth clean

help:
	@$(PYTHON) -c "print(open('Makefile').read().split('\n\n')[0].replace('# ', '').replace('#', ''))"

demo: .venv/run.stamp
	@$(PY) -m cytovox demo --out $(OUT)

test: lint
	@$(PY) -m pytest $(PYTEST_ARGS)

# Says so and is content where there can be no browser.
test-browser: .venv/test.stamp
	@$(PY) tests/browser/run_browser.py $(BROWSER_ARGS)

lint: .venv/test.stamp
	@$(BIN)/ruff$(EXE) check .
	@$(BIN)/ruff$(EXE) format --check .
	@$(BIN)/mypy$(EXE)
	@$(BIN)/lint-imports$(EXE)

# Each in an environment of its own, made anew: what is newest changes.
# Old releases warn of newer ones below them, so warnings are no errors there.
test-latest:
	@$(PYTHON) -m venv --clear .venv-latest
	@$(LATEST) -m pip --disable-pip-version-check install -qq --editable ".[test]" $(TEST_WITH)
	@$(LATEST) -m pytest $(PYTEST_ARGS)

test-oldest: .venv/uv.stamp
	@$(PYTHON) -m venv --clear .venv-oldest
	@$(UV) pip compile -q --python .venv-oldest --resolution lowest-direct --only-binary :all: --extra test --output-file .venv-oldest/lowest.txt pyproject.toml
	@$(UV) pip install -q --python .venv-oldest --requirement .venv-oldest/lowest.txt $(TEST_WITH)
	@$(UV) pip install -q --python .venv-oldest --no-deps --editable .
	@$(OLDEST) -m pytest -W default $(PYTEST_ARGS)

# One resolution for all systems and all versions of Python. Without torch, whose builds differ.
constraints: .venv/uv.stamp
	@$(UV) pip compile -q --universal --upgrade --python-version 3.11 --extra test --extra bench --extra docs --extra all --no-annotate --custom-compile-command "make constraints" --output-file constraints.txt pyproject.toml

parity: .venv/test.stamp
	@$(PY) tests/parity/run_matrix.py

bench: .venv/bench.stamp
	@$(PY) -m benchmarks $(BENCH_ARGS)

faults: .venv/test.stamp
	@$(PY) tests/faults/run_faults.py $(FAULTS_ARGS)

wheel: .venv/test.stamp
	@$(PIP) wheel -qq --no-deps --wheel-dir dist .
	@$(PY) -c "import pathlib; print(*sorted(pathlib.Path('dist').glob('*.whl')), sep='\n')"

# Of recordings and their reports, from an environment of its own, since what is there gets in.
bundle:
	@$(PYTHON) -m venv --clear .venv-bundle
	@$(BUNDLE) -m pip --disable-pip-version-check install -qq --no-compile ".[report]" pyinstaller $(PIP_WITH)
	@$(BUNDLE) -m PyInstaller --noconfirm --log-level ERROR --distpath dist --workpath build/bundle packaging/cytovox.spec
	@echo dist/cytovox

docs: .venv/test.stamp
	@$(PY) docs/make_cli_reference.py
	@$(PY) docs/make_pictures.py
	@$(PY) -m sphinx -q -W --keep-going -b html -d docs/_build/trees docs docs/_build/html
	@echo docs/_build/html/index.html

truth: .venv/run.stamp
	@$(PY) docs/make_truth.py

.venv/uv.stamp: .venv/made.stamp
	@$(PIP) install -qq uv
	@$(PY) -c "open('$@', 'w').close()"

# A stamp is older than pyproject.toml when what must be installed may have changed.
.venv/made.stamp:
	@$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed, and this is ' + sys.version.split()[0] + '; say make PYTHON=...' if sys.version_info < (3, 11) else 0)"
	@echo "setting up .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(PY) -c "open('$@', 'w').close()"

.venv/run.stamp: .venv/made.stamp pyproject.toml $(CONSTRAINTS)
	@echo "installing cytovox and what it needs (once, some minutes)"
	@$(PIP) install -qq --editable . $(PIP_WITH)
	@$(PY) -c "open('$@', 'w').close()"

.venv/test.stamp: .venv/run.stamp pyproject.toml
	@echo "installing what the tests need (once, some minutes)"
	@$(PIP) install -qq --editable ".[test]" $(TEST_WITH) $(PIP_WITH)
	@$(PY) -c "open('$@', 'w').close()"

.venv/bench.stamp: .venv/run.stamp pyproject.toml
	@echo "installing the peers (once, some minutes)"
	@$(PIP) install -qq --editable ".[bench]" $(PIP_WITH)
	@$(PY) -c "open('$@', 'w').close()"

clean:
	@$(PYTHON) -c "import shutil; [shutil.rmtree(p, ignore_errors=True) for p in ('.venv', '.venv-latest', '.venv-oldest', '.venv-bundle', 'dist', 'build', 'docs/_build', 'demo', '.mypy_cache', '.ruff_cache', '.hypothesis', '.import_linter_cache')]"
