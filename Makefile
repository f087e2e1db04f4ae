# Everything runs from a virtual environment that the first target makes.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python -m

.PHONY: help demo test test-slow test-environments check benchmark lock clean

help:  ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/installed  ## Install, train with and without memory, draw the difference.
	$(RUN) memorax demo

test: $(VENV)/installed-dev  ## Install with the test extras and run the fast tests.
	$(RUN) pytest -n 2 --dist worksteal

test-slow: $(VENV)/installed-dev  ## Run the learning tests.
	XLA_FLAGS= $(RUN) pytest -m slow

# The fork of gymnax that popgym-arcade asks for would overwrite gymnax, and is not needed: see docs/environments.md.
.venv-environments/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-environments
	.venv-environments/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,environments]' dm-pix
	.venv-environments/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps popgym-arcade
	touch $@

test-environments: .venv-environments/installed  ## Install every suite of environments and test them.
	XLAND_MINIGRID_DATA=.venv-environments/xland .venv-environments/bin/python -m pytest -m environments tests/environments

check: $(VENV)/installed-dev  ## Lint, format check and type check.
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

benchmark: $(VENV)/installed-dev  ## Measure training speed for every torso.
	$(RUN) benchmarks.speed

lock: $(VENV)/installed-dev  ## Resolve the versions everyone installs.
	$(RUN) pip install --quiet uv
	$(RUN) uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header --no-annotate pyproject.toml -o constraints.txt

clean:  ## Remove the virtual environment and caches.
	rm -rf $(VENV) .venv-environments .jax_cache .pytest_cache .ruff_cache .mypy_cache .hypothesis
