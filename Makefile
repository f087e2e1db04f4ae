# Everything runs from a virtual environment that the first target makes.

PYTHON ?= $(shell for name in python3.11 python3.12 python3.13; do $$name -c "" 2>/dev/null && echo $$name && exit; done; echo python3)
VENV := .venv
RUN := $(VENV)/bin/python -m

.PHONY: help demo test smoke-test test-slow test-parity test-environments test-loggers check docs benchmark drill release lock clean

help:  ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

INSTALL := $(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

# Modules are compiled as they are first imported: most of what the packages bring never is.
$(VENV)/installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --no-compile -e '.[dev]'
	touch $(VENV)/installed $@

demo: $(VENV)/installed  ## Install, train with and without memory, draw the difference.
	$(RUN) memorax demo

# Processes that share the tests, at most one for each core: each takes up to 6 GB.
PROCESSES := 2
TEST := pytest -n $(PROCESSES) --dist worksteal

test: $(VENV)/installed-dev  ## Install with the test extras and run the fast tests.
	$(RUN) $(TEST)

# What is likely to notice other versions of Python, JAX and NumPy, in a few minutes.
SMOKE_TESTS := tests/algorithms/test_dqn.py tests/algorithms/test_ppo.py tests/learning/test_optimization.py \
	tests/learning/test_replay.py tests/learning/test_returns.py tests/training/test_checkpoints.py

smoke-test: $(VENV)/installed-dev  ## Run a part of the fast tests: what depends on versions most.
	$(RUN) $(TEST) $(SMOKE_TESTS)

# Most of what the slow tests of algorithms and of learning do is compiling: the former have the flags of the fast tests,
# the latter the compiler's own but for its dearest optimisations. What may depend on how it optimises has its defaults.
SLOW_TESTS := $(TEST) -m slow
OF_LEARNING := tests/test_learning.py tests/test_probes.py tests/networks/heads/test_learning.py

test-slow: $(VENV)/installed-dev  ## Run the learning tests, and the laws of algorithms by the compiler's own emitters.
	$(RUN) $(SLOW_TESTS) tests/test_laws.py
	XLA_FLAGS=--xla_backend_optimization_level=1 $(RUN) $(SLOW_TESTS) $(OF_LEARNING)
	XLA_FLAGS= $(RUN) $(SLOW_TESTS) $(addprefix --ignore ,tests/test_laws.py $(OF_LEARNING))
	XLA_FLAGS=--xla_backend_optimization_level=0 $(RUN) $(TEST) tests/test_laws.py::test_algorithm

# torchscale asks for more than is used of it.
.venv-parity/installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]' \
		transformers==5.24.0 memax[equinox]==0.1.1 xlstm==2.0.6 rwkv==0.8.32 s5-pytorch==0.2.1 minGRU-pytorch==0.2.1
	.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check --no-deps torchscale==0.3.0
	touch $@

test-parity: .venv-parity/installed  ## Compare sequence models with other people's implementations.
	.venv-parity/bin/python -m pytest -m parity tests/networks/sequence_models/test_packages.py

# The fork of gymnax that popgym-arcade asks for would overwrite gymnax, and is not needed: see docs/environments.md.
.venv-environments/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-environments
	.venv-environments/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,environments]' dm-pix
	.venv-environments/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps popgym-arcade
	touch $@

test-environments: .venv-environments/installed  ## Install every suite of environments and test them.
	XLAND_MINIGRID_DATA=.venv-environments/xland .venv-environments/bin/python -m pytest -m environments tests/environments

.venv-loggers/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-loggers
	.venv-loggers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,tensorboard,wandb,mlflow]'
	touch $@

test-loggers: .venv-loggers/installed  ## Install the packages of all loggers and test them.
	.venv-loggers/bin/python -m pytest tests/loggers

check: $(VENV)/installed-dev  ## Lint, format check and type check.
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

.venv-docs/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

docs: .venv-docs/installed  ## Build the documentation in docs/_build/html, and check its links.
	rm -rf docs/_build
	.venv-docs/bin/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs docs/_build/html
	.venv-docs/bin/python docs/check_site.py docs/_build/html

benchmark: $(VENV)/installed-dev  ## Measure training speed for every torso.
	$(RUN) benchmarks.speed

drill: $(VENV)/installed-dev  ## Kill runs, damage checkpoints, fill disks: is every run resumed bit for bit?
	$(RUN) benchmarks.drill

.venv-release/installed: Makefile
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install --quiet --disable-pip-version-check build twine
	touch $@

release: .venv-release/installed  ## Build the wheel and the source archive in dist/, install each and try it.
	rm -rf build dist
	.venv-release/bin/python -m build --outdir dist
	.venv-release/bin/python -m twine check --strict dist/*
	.venv-release/bin/python tests/release.py dist $(SMOKE_TESTS)

lock: $(VENV)/installed-dev  ## Resolve the versions everyone installs.
	$(RUN) pip install --quiet uv
	$(RUN) uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header --no-annotate pyproject.toml -o constraints.txt

clean:  ## Remove the virtual environment and caches.
	rm -rf $(VENV) .venv-newest .venv-environments .venv-loggers .venv-parity .venv-docs .venv-release .jax_cache docs/_build build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
