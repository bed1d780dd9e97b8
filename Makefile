# make serve      set everything up and run the daemon on the embedded store, no configuration needed;
#                 POSTFIX=10025 EXIM=10026 (ports or addresses) for others than 10023 and 10024
# make test       set everything up and run all tests (real Exim and Postfix included)
# make fast-test  the tests that need no mail server, browser or daemon: under a minute
# make test-all   also every seed and full figure: about an hour
# make soak       for hours, until something fails
# make cover      branch coverage of everything pure has to be complete
# make lint       ruff and mypy
# make man        bring the generated parts of the manual pages up to date
# make site       the manual as a web site in dist/site, to be put on any server
# make wheel      build dist/*.whl, the plugins' too: the same octets from the same commit
# make deb        build dist/*.deb for this system's Python, and for another one with DEB="--python 3.13"
# make lock       renew locks/ and the bills of materials (needs the package index)
# make audit      ask for known advisories against what is locked, and against the lowest versions (needs the network)
# make bench      compare with postgrey and greylistd on this machine (needs cc)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SUPPLY := $(VENV)/supply
STATE  ?= .state
SERVE_AS ?= nobody
LISTEN := $(if $(POSTFIX),--listen postfix=$(POSTFIX)) $(if $(EXIM),--listen exim=$(EXIM))

# Only what locks/ names, octet for octet.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-build-isolation
LOCKED  := --require-hashes --only-binary :all:
BUILT   := --no-binary pyspf  # has no wheel

.PHONY: serve test fast-test test-all soak cover lint format bench man site wheel deb lock audit clean

serve: $(VENV)/installed
	@ask() { echo "make serve: ask it, from here: $(BIN)/multigrey --state-dir $$1 status" >&2; }; \
	if [ "$$(id -u)" != 0 ]; then \
	  ask "$(STATE)"; exec $(BIN)/multigrey serve --state-dir "$(STATE)" $(LISTEN); \
	fi; \
	state="$(STATE)"; mkdir -p "$$state"; \
	if ! setpriv --reuid=$(SERVE_AS) --clear-groups --regid=nogroup test -x "$$state"; then \
	  state=/var/lib/multigrey-serve; \
	  echo "make serve: user $(SERVE_AS) cannot enter $(STATE); state is kept in $$state" >&2; \
	fi; \
	echo "make serve: the daemon never serves as root; it becomes $(SERVE_AS) (make serve SERVE_AS=NAME for another user)" >&2; \
	ask "$$state"; exec $(BIN)/multigrey serve --state-dir "$$state" --user $(SERVE_AS) $(LISTEN)

# Two processes, because a machine has at least two processors and each test has a directory of its own.
define PYTEST
	@claims=$$(mktemp -d); \
	for process in 1 2; do \
	  $(BIN)/python -m pytest -q --claims "$$claims" $(1) & pids="$$pids $$!"; \
	done; \
	for pid in $$pids; do wait $$pid || failed=1; done; rm -r "$$claims"; test -z "$$failed"
endef

test: $(VENV)/tools
	$(call PYTEST,tests plugins)

fast-test: $(VENV)/tools
	$(call PYTEST,tests plugins -m "not mta and not crash and not slow")

# Every seed and full figure: an hour on two processors.
test-all: lint cover test
	$(BIN)/python -m tests.support.simulation --goals 101-120
	$(BIN)/python -m tests.support.simulation --goals 101 --full
	$(BIN)/python -m tests.support.simulation --weeks --goals 101-120

# For hours: more examples of each property, a thousand kills, other seeds each time, every fault of tests/faults
# and half an hour of them together; ends with a failure.  See also python -m tests.faults.strangers.
soak: $(VENV)/tools
	@round=1; while MULTIGREY_FUZZ=1 MULTIGREY_KILL_ROUNDS=1000 $(BIN)/python -m pytest -q --timeout 7200 \
	    tests plugins -m "not mta" && \
	  $(BIN)/python -m tests.faults.fuzz --count 10000000 --seed $$round && \
	  $(BIN)/python -m tests.faults.soak --minutes 30 && \
	  $(BIN)/python -m tests.support.simulation --goals $$((1000 + $$round)); \
	do echo "soak: round $$round is clean"; round=$$((round + 1)); done; exit 1

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
	$(BIN)/python -m tests.support.architecture

site: $(VENV)/tools
	$(BIN)/python -m man.site dist/site

wheel: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
wheel: $(VENV)/installed
	rm -rf dist
	for each in . plugins/*/; do \
	  (cd "$$each" && "$(abspath $(BIN))/hatchling" build -t wheel -d "$(CURDIR)/dist") || exit; \
	done

deb: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
deb: $(VENV)/tools wheel
	$(BIN)/python -m packages.deb.build $(DEB)

# A version has to be a week old: most poisoned ones are found by then.  make lock AGE="0 days" for an urgent one.
AGE     ?= 7 days
COMPILE := $(SUPPLY)/bin/uv pip compile --quiet --python-version 3.11 --upgrade --exclude-newer "$(AGE)" \
  --no-emit-index-url --custom-compile-command "make lock"
ALL     := pyproject.toml --all-extras --group build
lock: $(SUPPLY)/installed
	$(COMPILE) --universal --generate-hashes $(ALL) -o locks/test.txt
	$(COMPILE) --universal --generate-hashes pyproject.toml -c locks/test.txt -o locks/serve.txt
	$(COMPILE) --universal --generate-hashes --group build -c locks/test.txt -o locks/build.txt
	$(COMPILE) --universal --generate-hashes --group supply -o locks/supply.txt
	$(COMPILE) --resolution lowest --python-platform linux $(ALL) -o locks/lowest.txt
	for python in 3.11 3.12 3.13 3.14; do for machine in x86_64 aarch64; do for lock in build serve test; do \
	  $(SUPPLY)/bin/uv pip install --quiet --dry-run --target $(SUPPLY)/none --python-version $$python \
	    --python-platform $$machine-unknown-linux-gnu $(LOCKED) $(BUILT) -r locks/$$lock.txt || exit; \
	done; done; done
	$(MAKE) $(VENV)/tools
	$(BIN)/python -m tests.support.sbom

# --strict: what could not be asked about is a failure, too.
AUDIT = $(SUPPLY)/bin/pip-audit --strict --disable-pip $(AUDIT_OPTIONS)
audit: $(SUPPLY)/installed
	$(AUDIT) --require-hashes -r locks/test.txt -r locks/supply.txt
	$(AUDIT) --no-deps -r locks/lowest.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist

# What the sources need, then the sources themselves (editable: a git pull is enough to be up to date).
$(VENV)/installed: pyproject.toml locks/build.txt locks/serve.txt | $(VENV)/bin/python
	@echo "setting up, about a minute" >&2
	$(INSTALL) $(LOCKED) -r locks/build.txt -r locks/serve.txt
	$(INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/tools: pyproject.toml locks/build.txt locks/test.txt | $(VENV)/bin/python
	@echo "setting up, about a minute" >&2
	$(INSTALL) $(LOCKED) -r locks/build.txt
	$(INSTALL) $(LOCKED) $(BUILT) --use-pep517 -r locks/test.txt
	$(INSTALL) --no-deps --editable .
	@touch $@ $(VENV)/installed

$(SUPPLY)/installed: locks/supply.txt | $(VENV)/bin/python
	$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/python -m pip --disable-pip-version-check install --quiet $(LOCKED) -r $<
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "multigrey needs Python 3.11 or later: apt-get install git make python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "this Python cannot make virtual environments: apt-get install git make python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
