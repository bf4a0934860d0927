# hikae: every command that the README names. A fresh machine needs Python 3.11 (or newer) and make, nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ROOT := $(CURDIR)
TOOLS := $(ROOT)/.tools
UV := $(TOOLS)/uv/bin/uv
UV_VERSION := 0.13.9
TOOL_NAMES := sam awscli ministack rie
TOOL_STAMPS := $(TOOL_NAMES:%=$(TOOLS)/%/.installed)

export UV_PYTHON_DOWNLOADS := never
export UV_PYTHON := $(shell command -v python3.11 >/dev/null && python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || python3 -c 'import sys; print(sys.executable)')
export UV_PROJECT_ENVIRONMENT := $(ROOT)/.venv
export SAM_CLI_TELEMETRY := 0
export PATH := $(ROOT)/.venv/bin:$(TOOLS)/bin:$(TOOLS)/uv/bin:$(PATH)

.PHONY: help
help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

# --- setup ------------------------------------------------------------------------------------------------------------

.PHONY: setup
setup: .venv/.installed $(TOOL_STAMPS) ## install everything the other targets need (they call it themselves)

$(UV):
	$(UV_PYTHON) -m venv $(TOOLS)/uv
	$(TOOLS)/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.installed: uv.lock pyproject.toml | $(UV)
	$(UV) sync --quiet --frozen --all-extras
	touch $@

# The SAM CLI, the AWS CLI and the emulators pin libraries of their own, so each lives in an environment of its own.
$(TOOLS)/%/.installed: local/tools/%.txt | $(UV)
	$(UV) venv --quiet --clear $(TOOLS)/$*
	$(UV) pip install --quiet --python $(TOOLS)/$*/bin/python --require-hashes -r local/tools/$*.txt
	mkdir -p $(TOOLS)/bin
	for command in sam aws ministack; do \
	  if [ -x $(TOOLS)/$*/bin/$$command ]; then ln -sf ../$*/bin/$$command $(TOOLS)/bin/$$command; fi; done
	touch $@

.PHONY: lock
lock: | $(UV) ## lock again what the project, the layer and the tools depend on
	$(UV) lock
	$(UV) export --quiet --frozen --no-dev --no-emit-project -o layers/core/requirements.txt
	cd local/tools && for tool in $(TOOL_NAMES); do \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --custom-compile-command 'make lock' $$tool.in -o $$tool.txt; done

# --- checks -----------------------------------------------------------------------------------------------------------

.PHONY: test lint types imports unit integration functional chaos-points template e2e
test: lint types imports unit integration functional chaos-points template e2e ## everything, as CI runs it

lint: .venv/.installed
	ruff format --check .
	ruff check .

types: .venv/.installed
	mypy

imports: .venv/.installed
	lint-imports

unit integration functional template: %: setup
	pytest tests/$*

e2e: setup
	pytest tests/e2e

.PHONY: format
format: .venv/.installed ## put the code into shape
	ruff check --fix-only --quiet .
	ruff format --quiet .

.PHONY: schema
schema: .venv/.installed ## write docs/reference/plan.schema.json anew, from what the reader of plans goes by
	hikae plan schema > docs/reference/plan.schema.json.new
	mv docs/reference/plan.schema.json.new docs/reference/plan.schema.json

# --- the local cloud: begin -------------------------------------------------------------------------------------------

.PHONY: local-up local-status local-down local-env invoke
local-up: setup ## start the local cloud and deploy both sites
	python -m local.cloud up

local-status: setup ## show the local cloud's processes, endpoints, Regions and stacks
	python -m local.cloud status

local-down: setup ## end the local cloud with everything in it
	python -m local.cloud down

local-env: setup ## print the export lines for talking to it: eval "$$(make -s local-env)"
	@python -m local.cloud env

invoke: setup ## run a built function by hand: make invoke FUNCTION=SnapshotVolumes EVENT=events/….json [SITE=recovery]
	@python -m local.invoke --function "$(FUNCTION)" --event "$(EVENT)" --site "$(or $(SITE),primary)"

# --- the local cloud: end ---------------------------------------------------------------------------------------------

# --- the demo: begin --------------------------------------------------------------------------------------------------

.PHONY: demo
demo: setup ## run the main job and two drills on a local cloud: about three minutes, exits 0 when all is there
	python -m local.demo

# --- the demo: end ----------------------------------------------------------------------------------------------------

# --- the fault suite: begin -------------------------------------------------------------------------------------------

.PHONY: chaos chaos-points guards
chaos-points: setup ## every operation killed at every call: the part of the fault suite that `make test` runs
	pytest tests/chaos

guards: .venv/.installed ## take each guard out of a copy of the code, and see that a test turns red
	python -m bench.guards

chaos: .venv/.installed ## every fault at every call of every operation: twenty minutes; writes docs/reliability.md
	PYTHONHASHSEED=0 PYTHONPATH=.:layers/core MOTO_EC2_LOAD_DEFAULT_AMIS=false python -m local.chaos

# --- the fault suite: end ---------------------------------------------------------------------------------------------

# --- benchmarks -------------------------------------------------------------------------------------------------------

.PHONY: bench
bench: .venv/.installed ## measure calls, copies, cold starts, retention, prune and the twin; writes docs/benchmarks.md
	AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=bench AWS_DEFAULT_REGION=us-east-1 python -m bench

.PHONY: mutants
mutants: .venv/.installed ## change the code that decides about deletion, and see that a test notices every change
	$(UV) sync --quiet --frozen --all-extras --group mutation
	python -m bench.mutation
