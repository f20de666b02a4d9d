# Everything a user needs: `make demo` and `make test` work on a machine with only Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
export DAGSTER_HOME ?= $(CURDIR)/dagster_home

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
  --no-emit-index-url --no-emit-find-links --no-header --no-annotate

# uv installs in a fifth of pip's time: it unpacks, links and compiles on all cores.
INSTALL := .ci/uv pip install --python $(BIN)/python --compile-bytecode

# Half of the suite's time is waiting for the disk, so its files are in memory where there is plenty.
TEST_FILES := $(shell test "$$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 8000000 2>/dev/null && echo /dev/shm)

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-unit screenshots check fix docs lock sbom benchmarks demo-distributed clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: .venv/.ready ## Make .venv and install the locked dependencies and the project into it

.venv/.ready: .ci/installer.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is another. Set PYTHON=python3.12, say."; exit 1; }
	@echo "1 of 4: making .venv"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .ci/installer.lock
	@echo "2 of 4: installing the locked dependencies, about 1.7 GB; to compile them takes half a minute"
	@# Downloads are named as they begin and end; the list of what was installed is 200 lines that nobody reads.
	@# The flag tells whether uv succeeded, which the pipe hides from a plain shell.
	@{ $(INSTALL) --require-hashes -r requirements-dev.lock 2>&1 && touch .venv/.installed; } \
	  | sed -e '/^ [-+~] /d' -e 's/^ */  /'
	@test -f .venv/.installed
	@echo "3 of 4: installing the project"
	@$(INSTALL) --quiet --no-build-isolation --no-deps -e .
	@echo "4 of 4: making the run history of each environment"
	@# Two services that start on a fresh history damage its database; one process makes it, first, in each environment.
	@$(BIN)/python -m pipeline.orchestration.instance
	@touch $@

demo: setup ## Run the main job against the bundled simulator and show what came out
	@$(BIN)/phygitals demo

dev: setup ## Open the Dagster UI at http://127.0.0.1:3000, with schedule and sensor running
	@$(BIN)/phygitals dev

test: setup ## Run the whole test suite
	@# Two processes use two cores, and a third one works while tests wait for servers.
	PYTEST_DEBUG_TEMPROOT=$(TEST_FILES) $(BIN)/pytest -n 3 --dist worksteal

test-unit: setup ## Run the tests that need neither a server nor Dagster
	PYTEST_DEBUG_TEMPROOT=$(TEST_FILES) $(BIN)/pytest -n 2 --dist worksteal tests/unit

screenshots: setup ## Keep a picture of each page of the Dagster UI in build/screenshots; needs Chromium
	PHYGITALS_SCREENSHOTS=$(CURDIR)/build/screenshots $(BIN)/pytest tests/e2e/test_browser.py

check: setup ## Lint and type-check; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: setup ## Format and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m docs.reference_pages
	$(BIN)/python -m pipeline.catalog.lineage

docs: setup ## Build the documentation site into build/docs; a broken link or reference fails
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky docs build/docs
	@echo "Open build/docs/index.html in a browser."

lock: setup ## Pin the newest allowed dependencies, with hashes, into the locks
	$(COMPILE) --upgrade pyproject.toml --extra dev --extra distributed --extra explore -o requirements-dev.lock
	@# The locks of users have the versions that the tests ran with.
	$(COMPILE) pyproject.toml --constraint requirements-dev.lock -o requirements.lock
	$(COMPILE) pyproject.toml --constraint requirements-dev.lock --extra distributed -o requirements-distributed.lock
	$(COMPILE) pyproject.toml --constraint requirements-dev.lock --extra explore -o requirements-explore.lock
	$(COMPILE) --constraint requirements-dev.lock --group installer -o .ci/installer.lock
	$(COMPILE) --upgrade --group sbom -o .ci/sbom.lock

sbom: setup ## Write the bill of materials of what users install to build/sbom.json, in the format CycloneDX
	@mkdir -p build
	@$(PYTHON) -m venv --clear build/sbom-tool
	@build/sbom-tool/bin/pip install --quiet --disable-pip-version-check --require-hashes -r .ci/sbom.lock
	@# The lock does not say which package needs which, which the tool warns of.
	build/sbom-tool/bin/python -W ignore::UserWarning -m cyclonedx_py requirements --pyproject pyproject.toml \
	  --output-reproducible --output-format JSON --output-file build/sbom.json requirements.lock
	$(BIN)/python -m docs.bill_of_materials build/sbom.json

benchmarks: setup ## Measure against named baselines; takes an hour and a half
	$(BIN)/python -m benchmarks.polling
	$(BIN)/python -m benchmarks.detection
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python -m benchmarks.rollups
	$(BIN)/python -m benchmarks.explore
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.looks
	$(BIN)/python -m benchmarks.shrinkage
	$(BIN)/python -m benchmarks.small_days
	$(BIN)/python -m benchmarks.refresh
	$(BIN)/python -m benchmarks.scale

demo-distributed: setup ## Lose one of two workers in mid-run, on loopback; needs redis-server and postgresql
	$(BIN)/python -m benchmarks.distributed

clean: ## Remove what was made here, but no data
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache *.egg-info
