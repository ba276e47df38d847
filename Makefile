# Two commands: `make run` and `make test`. `make help` lists the others.
# Variables: PYTHON (default python3), HOST, PORT, ARGS (options of app.py), PYTEST_ARGS, WORKERS (0: one process).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HOST ?= 127.0.0.1
export PORT ?= 7860
# On Linux the package index carries torch built for NVIDIA, gigabytes more than a CPU needs.
TORCH_INDEX ?= $(if $(and $(filter Linux,$(shell uname -s)),$(if $(wildcard /dev/nvidia0),,cpu)),https://download.pytorch.org/whl/cpu)
# Two processes run the tests, file by file: most of them, and all compiling, keep one core busy.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary

.PHONY: help run test test-quick lint format screenshots peers space clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1|/' | awk -F'|' '{printf "  %-18s %s\n", $$1, $$2}'

run: $(VENV)/.run ## set up once, then serve on http://127.0.0.1:7860 (HOST, PORT, ARGS)
	@exec $(BIN)/python app.py $(ARGS)

test: $(VENV)/.dev chromium ## set up once, then run all tests (PYTEST_ARGS)
	@$(PYTEST) $(PYTEST_ARGS)

test-quick: $(VENV)/.dev ## the tests without the real model, a browser and what is slow: under 90 seconds (PYTEST_ARGS)
	@$(PYTEST) -m "not model and not browser and not slow" $(PYTEST_ARGS)

lint: $(VENV)/.dev ## ruff, mypy, and the layers of import-linter
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

format: $(VENV)/.dev ## let ruff format and sort
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

screenshots: $(VENV)/.dev chromium ## take the pictures under docs/ again
	@$(BIN)/python -m tests.browser.screenshots docs

peers: $(VENV)/.run ## install the engines that the benchmark compares with, and convert the model (about 20 minutes)
	@TORCH_INDEX="$(TORCH_INDEX)" $(BIN)/python -m engine.measure.peers build

space: $(VENV)/.run ## assemble the Hugging Face Space in build/space
	@$(BIN)/python -m spaces.build --output build/space

clean: ## remove the environment, caches and build outputs (not the models, not the peers)
	@rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis .gradio
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "Brisk needs Python 3.10 or newer, and '$(PYTHON)' is not there: install it, or name yours: make PYTHON=python3.12 run" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Brisk needs Python 3.10 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1): name a newer one: make PYTHON=python3.12 run" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Brisk needs Python's venv module, and '$(PYTHON)' has none: on Debian or Ubuntu, apt-get install python3-venv" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	@echo "Installing the requirements (once; a few minutes) ..."
	@if [ -n "$(TORCH_INDEX)" ]; then $(PIP) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) "$$(grep '^torch==' requirements.txt)"; fi
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	@echo "Installing the test tools (once) ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@

.PHONY: chromium
chromium: # for the browser tests
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null 2>&1 && exit 0; done; \
	[ -n "$$CHROMIUM" ] && exit 0; \
	if command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing Chromium for the browser tests ..."; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
	  echo "Chromium is not there, so the browser tests will fail: install it, or name it with CHROMIUM=/path/to/chromium" >&2; \
	fi
