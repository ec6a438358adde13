# make demo   the light package and the shipped weights; the example call becomes demo/call.html
# make test   what tests need, then all of them            make check   lint, types, import rules
# make docs   the documentation, into site/                make bench   the measurements behind the README
# Everything goes into .venv; a step that is done is not done again.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test check format docs bench clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two files of tests at a time; those of one file after another, which share what is costly to make.
PYTEST ?= -n 2 --dist loadfile
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
LIGHT := -e . -e ./bundles/tone-small
DECLARED := pyproject.toml constraints.txt bundles/tone-small/pyproject.toml

export PIP_BUILD_CONSTRAINT := constraints.txt
export ORT_DISABLE_TELEMETRY := 1
ifneq ($(wildcard ../shared/data),)
export VOICETONE_DATA ?= $(abspath ../shared/data)
endif

demo: $(VENV)/.light
	@mkdir -p demo
	$(BIN)/voicetone analyze examples/call.flac --channel-names agent,customer --analyse all \
	    --html demo/call.html --json demo/call.json
	@echo "Open demo/call.html in a browser; the numbers are in demo/call.json."

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST)

check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html."

bench: $(VENV)/.test
	@for step in benchmarks/bench_*.py; do echo "$$step"; $(BIN)/python "$$step"; done
	$(BIN)/python benchmarks/readme.py

clean:
	rm -rf $(VENV) demo site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "voicetone needs Python 3.11 or newer, and there is no '$(PYTHON)': install it, or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "voicetone needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1): say where a newer one is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "'$(PYTHON)' lacks the venv module: install it (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade pip
	@touch $@

$(VENV)/.light: $(VENV)/.made $(DECLARED)
	$(PIP) $(LIGHT)
	@touch $@

# Type checking wants the typed packages that the code imports: the same environment as the tests'.
$(VENV)/.test: $(VENV)/.light
	$(PIP) $(LIGHT) -e '.[aws,client,data,label,opensmile,postgres,report,serve,ssl,train]' --group test
	$(PIP) --no-deps Resemblyzer # its weights alone are read
	@touch $@

$(VENV)/.check: $(VENV)/.test
	$(PIP) --group dev
	@touch $@
