# The front door for every chore. `make help` lists the targets; none of them installs twice.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Real data, where a checkout has it beside it; the package itself knows no such path.
ifneq ($(wildcard ../shared/data/SHA256SUMS),)
export WORKBENCH_DATA ?= $(abspath ../shared/data)
endif
export PYTHONUNBUFFERED = 1
# Keep compiled modules, also where the environment says not to: else every process of a test compiles the workbench again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test visits quick fuzz slow lint check format notebooks results claims results-check pictures lab serve browser bench docs-numbers constraints clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch==2.13.0
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[all,dev,docs]"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[peers]" || \
	  echo "spectral cannot be installed here; the tests that compare with it are skipped."
	@touch $@

install: $(STAMP)  ## make .venv and install everything, pinned

demo: $(STAMP)  ## the anomaly report on the embedded simulated scene
	@$(BIN)/python -m workbench.reports.demo

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q
# `A=data`: only the files of tests/ whose path contains that word
FILES = $(if $(A),$(or $(sort $(shell find tests -path '*$(A)*' -name 'test_*.py')),$(error no file of tests/ has '$(A)' in its path)))

test: $(STAMP)  ## all tests but the slow ones and those of `make visits` (under 8 minutes on two cores); of an area, whatever they are: make test A=data
	@$(PYTEST) -n 3 -m "not ($(if $(A),slow,slow or browser))" $(FILES) $(ARGS)  # on two cores: one worker waits for ranks, kernels or a clock

visits: $(STAMP)  ## all pages in a real Chromium, also in windows of three widths (4 minutes)
	@$(PYTEST) -n 2 -m "browser and not slow" tests/browser $(ARGS)

quick: $(STAMP)  ## tests without processes, pages, browser and notebooks, and all doctests (a minute and a quarter); A=data as above
	@$(PYTEST) -n 2 -m "not (slow or long or page or process or browser or notebook)" --doctest-modules $(or $(FILES),tests workbench) $(ARGS)

fuzz: $(STAMP)  ## 2000 spoiled files of each format, catalogue files and notebooks, and 2000 damaged run folders; `make test` has a sample; WORKBENCH_FUZZ_SEED=1: other ones
	@WORKBENCH_FUZZ=2000 $(PYTEST) -n 2 tests/properties/test_readers_fuzz.py tests/properties/test_sar_fuzz.py tests/properties/test_runs_fuzz.py tests/properties/test_entries_fuzz.py tests/dashboards/test_hostile_addresses.py $(ARGS)

slow: $(STAMP)  ## the papers' claims on real scenes, several seeds (tens of minutes)
	@$(BIN)/python -m pytest -q -m slow $(ARGS)

lint: $(STAMP)  ## format, lint, types, import contracts
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

check: lint quick  ## lint, then the quick tests

format: $(STAMP)  ## format and fix what can be fixed
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

notebooks: $(STAMP)  ## every notebook executed in smoke mode, nothing mocked
	@$(PYTEST) -n 2 -m "not slow" tests/notebooks

JOBS ?= 2
results: $(STAMP)  ## make the numbers, pages and figures of docs/results from recipes/ (minutes)
	@$(BIN)/python -m workbench.reports.results make --jobs $(JOBS) $(RECIPES)
	@$(BIN)/python -m docs.generate.claims

claims: $(STAMP)  ## make docs/claims.md and the findings of README.md again, from docs/claims/ and docs/results/ (seconds)
	@$(BIN)/python -m docs.generate.claims

results-check: $(STAMP)  ## make them again and fail where a committed number is not what its recipe gives
	@$(BIN)/python -m workbench.reports.results check --jobs $(JOBS) $(RECIPES)

pictures: $(STAMP)  ## take the pictures of the landing page from the running dashboards (minutes; needs Chromium)
	@$(BIN)/python -m docs.generate.pictures $(or $(A),$$(mktemp -d))

lab: $(STAMP)  ## JupyterLab in notebooks/
	@$(BIN)/jupyter lab --notebook-dir notebooks

serve: $(STAMP)  ## all dashboards in a browser; ARGS="--root DIR --port N"
	@$(BIN)/workbench serve --show $(ARGS)

browser:  ## install Debian's Chromium for the browser tests (needs root)
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium)

bench: $(STAMP)  ## speed ratios against named peers (minutes)
	@for f in benchmarks/bench_*.py; do echo "== $$f"; $(BIN)/python $$f; done

.PHONY: docs docs-check
docs: $(STAMP)  ## the documentation as a site that works offline: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open site/index.html"

docs-check: docs  ## build it; check links, anchors, names, and that it works from the disk without a network
	@$(BIN)/python -m docs.generate.names
	@$(BIN)/python -m docs.generate.check site
	@$(BIN)/python -m docs.generate.browse site

constraints: $(STAMP)  ## freeze the versions of .venv into constraints.txt
	@(echo "# The exact versions we build and test with (Python 3.11). Regenerate: make constraints"; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v ' @ ') > constraints.txt

clean:  ## remove .venv and caches; run folders stay
	@rm -rf $(VENV) site .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist *.egg-info
