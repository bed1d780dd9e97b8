# make serve      set everything up and run the daemon on the embedded store, no configuration needed
# make test       set everything up and run all tests (real Exim and Postfix included)
# make fast-test  the tests that need no mail server and no browser
# make cover      branch coverage of everything pure has to be complete
# make lint       ruff and mypy
# make man        bring the generated parts of the manual pages up to date
# make bench      compare with postgrey and greylistd on this machine (needs cc)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STATE  ?= $(CURDIR)/.state
SERVE_AS ?= nobody

.PHONY: serve test fast-test cover lint format bench man clean

serve: $(VENV)/installed
	@if [ "$$(id -u)" != 0 ]; then \
	  exec $(BIN)/multigrey serve --state-dir "$(STATE)"; \
	fi; \
	state="$(STATE)"; mkdir -p "$$state"; \
	if ! setpriv --reuid=$(SERVE_AS) --clear-groups --regid=nogroup test -x "$$state"; then \
	  state=/var/lib/multigrey-serve; \
	  echo "make serve: user $(SERVE_AS) cannot enter $(STATE); state is kept in $$state" >&2; \
	fi; \
	echo "make serve: the daemon never serves as root; it becomes $(SERVE_AS) (make serve SERVE_AS=NAME for another user)" >&2; \
	exec $(BIN)/multigrey serve --state-dir "$$state" --user $(SERVE_AS)

test: $(VENV)/tools
	$(BIN)/python -m pytest tests plugins

fast-test: $(VENV)/tools
	$(BIN)/python -m pytest tests plugins -m "not mta and not crash"

# Everything pure has to be run by its own tests to the last branch.
PURE := identity greylist protocols events analysis codec text throttle histogram
MORE_PURE := plugins/test_lookups matching/test_facts matching/test_timespans
cover: $(VENV)/tools
	$(BIN)/python -m pytest -q $(wildcard $(PURE:%=tests/%) $(PURE:%=tests/test_%.py)) \
	  tests/config/test_origin_data.py tests/test_codec_events.py tests/test_codec_names.py \
	  $(MORE_PURE:%=tests/%.py) $(PURE:%=--cov=multigrey.%) \
	  --cov=multigrey.plugins.lookups --cov=multigrey.matching.facts --cov=multigrey.matching.timespans \
	  --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

lint: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/tools
	$(BIN)/python -m benchmarks $(BENCH)

# Rewrites the parts of the manual pages that are made from the code.
man: $(VENV)/tools
	$(BIN)/python -m man.regions

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist

# What the sources need, then the sources themselves (editable: a git pull is enough to be up to date).
$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/tools: pyproject.toml $(wildcard plugins/*/pyproject.toml) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@ $(VENV)/installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "multigrey needs Python 3.11 or later: apt-get install git make python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "this Python cannot make virtual environments: apt-get install git make python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
