# make demo: a model learns to serve new users, and a report shows it.  make test: the whole suite.
PYTHON ?= python3
OUT ?= demo
SEED ?= 0
BIN := .venv/bin
# Threads gain small models nothing, so each core has a test of its own. Files go round as they
# stand: ordered by their number of tests, the longest ones would come last.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 \
	--dist loadfile --no-loadscope-reorder

.PHONY: install demo test test-fast system lint docs bench clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fspo needs Python 3.11 or newer; say which one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/fspo demo --out $(OUT) --seed $(SEED)

# Everything. Only this installs system packages, by way of `system`.
test: lint system
	$(PYTEST)

# Without root: slow tests, which run the embedded model end to end, are left out, and tests whose
# system package is missing skip themselves.
test-fast: install
	$(PYTEST) -m 'not slow'

# Chromium and PostgreSQL; as root, or with sudo.
system:
	tests/system.sh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/*.Dockerfile

# The site, in site/; a broken link or a page that is not in the navigation is an error.
docs: install
	$(BIN)/python docs/make_reference.py
	$(BIN)/mkdocs build --strict

# Beside TRL, which only this target installs.
bench: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/training.py

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis site
