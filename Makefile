# make demo    install into .venv and stylize the clip that the package ships
# make test    install with the development and training extras, run the tests
# make check   ruff, mypy, pytest
# make docs    the pages of docs/ with the API, into out/docs
# make bench   a short set of benchmarks; writes benchmarks/RESULTS.md
# make kernels   rebuild the fatbin of the CUDA kernels that the package ships (NVRTC of PyPI)
# make gpu-check   does this machine's GPU draw what the CPU draws? Writes gpu-check/report.md
# make gpu-carry   what benchmarks/gpu_check.sh needs on a machine without a package index, into .gpu-carry
# make gpu-rehearse   that script here, without a network, on a driver that is none
# make fuzz    an hour of mutated videos, styles and requests; what fails is kept in out/fuzz
# make fuzz-ci what failed once and the same inputs each time, two minutes at most
# make clean   remove what these made

PYTHON ?= python3
VENV   ?= .venv
FUZZ_SECONDS ?= 3600
FUZZ_CI_SECONDS ?= 120
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
GPU_EXTRAS := ".[train,gpu,tensorrt-rtx,openvino,mnn]"
SOURCES := $(shell find engine trainer plugins CMakeLists.txt -type f -not -name "*.pyc" -not -name "_native*.so" 2>/dev/null)

.DEFAULT_GOAL := demo
.PHONY: demo test check docs bench fuzz fuzz-ci kernels gpu-check gpu-carry gpu-rehearse clean install install-dev

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip

$(VENV)/.installed: $(BIN)/python pyproject.toml $(SOURCES)
	$(PIP) install --constraint constraints-dev.txt .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints-dev.txt $(SOURCES)
	$(PIP) install --constraint constraints-dev.txt ".[dev,docs,train,live,gpu,tensorrt-rtx,openvino,mnn]"
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

demo: install
	@mkdir -p out
	$(BIN)/animevid --demo out/demo.mp4 --compare split --overwrite
	@echo "The result is out/demo.mp4: the original on the left of the line, the style on the right."

test: install-dev
	$(BIN)/python -m pytest --benchmark-disable

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --benchmark-disable

docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The pages begin at out/docs/index.html"

fuzz: install-dev
	$(BIN)/python tests/fuzz.py --seconds $(FUZZ_SECONDS)

fuzz-ci: install-dev
	$(BIN)/python tests/fuzz.py --seconds $(FUZZ_CI_SECONDS) --count 150

bench: install-dev
	$(BIN)/python -m benchmarks

kernels: $(BIN)/python
	$(PIP) install -r plugins/cuda/requirements.txt
	$(BIN)/python plugins/cuda/build_fatbin.py

# torch with CUDA asks for versions of NVIDIA's packages itself: where they are not those of the list, its own are taken.
gpu-check: $(BIN)/python
	$(PIP) install --constraint constraints-dev.txt $(GPU_EXTRAS) || $(PIP) install $(GPU_EXTRAS)
	$(BIN)/animevid doctor --gpu

# Wheels for Python 3.11 and newer on Linux (PyAV's is of the stable ABI); the second is a part of the build.
gpu-carry: install-dev
	$(PIP) download --constraint constraints-dev.txt --no-deps --only-binary=:all: --platform manylinux_2_28_x86_64 \
	  --implementation cp --python-version 3.12 --dest .gpu-carry av hatch-fancy-pypi-readme
	$(BIN)/python benchmarks/gpu_carry.py .gpu-carry

gpu-rehearse: install-dev
	PYTHON="$(CURDIR)/$(BIN)/python" tests/gpu/rehearse.sh

clean:
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
