# make setup | demo | test | check | docs | wheel | clean
# Each does the set-up by itself; CONTRIBUTING.md says more.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup
TOOLS := $(VENV)/.tools
INSTALL = $(BIN)/uv pip install --python $(BIN)/python --constraints constraints.txt \
  --build-constraints constraints.txt --editable
EXTRAS ?= dev
TORCH_BACKEND ?=
ARGS ?=
CHOSEN := $(filter command environment,$(origin EXTRAS) $(origin TORCH_BACKEND))
SYSTEM := $(shell uname -s)

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && echo $$python && break; done)

# What Qt and OpenGL load on Linux, and Debian's packages that bring it.
LIBRARIES := libEGL.so.1 libGL.so.1 libxkbcommon-x11.so.0 libdbus-1.so.3 \
  libxcb-cursor.so.0 libxcb-icccm.so.4 libxcb-image.so.0 libxcb-keysyms.so.1 \
  libxcb-randr.so.0 libxcb-render-util.so.0 libxcb-xinerama.so.0 libxcb-shape.so.0 \
  libfontconfig.so.1 libglib-2.0.so.0
PACKAGES := libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libdbus-1-3 \
  libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 \
  libxcb-render-util0 libxcb-xinerama0 libxcb-shape0 libfontconfig1 libglib2.0-0 \
  fonts-dejavu-core xvfb xauth

ifeq ($(SYSTEM)$(TORCH_BACKEND),Linux)
SIZE := Installing about 6.4 GB into $(VENV), of which 4.5 GB are for NVIDIA GPUs. \
  To do without: make setup TORCH_BACKEND=cpu
else
SIZE := Installing about 2 GB into $(VENV).
endif

# Windows need a screen: without one, a virtual one.
ifeq ($(SYSTEM)$(DISPLAY)$(WAYLAND_DISPLAY),Linux)
SCREEN := xvfb-run -a -s "-screen 0 1600x1000x24"
DEMO := --screenshot demo/screenshot.png
endif

# Tests run side by side, each process with a virtual screen of its own, where the
# windows of others do not take the focus. ARGS="-n 0" is one process.
PYTEST := -n logical --maxprocesses 4 --dist loadfile -o xvfb_width=1600 \
  -o xvfb_height=1000 -o xvfb_colordepth=24 $(if $(SCREEN),--xvfb-backend xvfb)

# Tests on real slides run where the slides are, and are skipped elsewhere.
ifeq ($(WENO_TEST_DATA),)
ifneq ($(wildcard ../shared/data/README.md),)
export WENO_TEST_DATA := $(abspath ../shared/data)
endif
endif

.PHONY: setup system demo test check docs wheel clean again

setup: $(STAMP)

demo: $(STAMP)
	$(SCREEN) $(BIN)/weno demo demo $(DEMO)

test: export NAPARI_ASYNC := 0
# The tests' tensors are small: threads would mostly wait for each other.
test: export OMP_NUM_THREADS := 1
ifeq ($(SYSTEM),Linux)
# A virtual screen is one of X, though the desktop may have another sort.
test: export QT_QPA_PLATFORM := xcb
endif
test: $(TOOLS)
	$(BIN)/python -m pytest $(PYTEST) $(ARGS)

check: $(TOOLS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(TOOLS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(STAMP)
	rm -rf dist
	$(BIN)/uv build --build-constraints constraints.txt

clean:
	rm -rf $(VENV) build dist site demo .mypy_cache .ruff_cache .pytest_cache

$(STAMP): pyproject.toml constraints.txt $(if $(CHOSEN),again) | system
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not" \
	  "found; if it is elsewhere: make setup PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python cannot make environments; on Debian and Ubuntu:" \
	  "apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet \
	  --disable-pip-version-check --constraint constraints.txt uv
	@test -e $(STAMP) || echo "$(SIZE)"
	$(INSTALL) '.[$(EXTRAS)]' $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND))
	@touch $@

# Whoever chose other EXTRAS gets the tools when they are first asked for.
$(TOOLS): $(STAMP)
	@test -x $(BIN)/ruff -a -x $(BIN)/mypy -a -x $(BIN)/mkdocs \
	  && $(BIN)/python -c "import pytest, xdist, pytest_xvfb" 2>/dev/null \
	  || $(INSTALL) '.[dev]'
	@touch $@

# Installs what is missing where that is allowed, else says how, and goes on.
system:
ifeq ($(SYSTEM),Linux)
	@known=$$(PATH="$$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null); missing=; \
	for library in $(LIBRARIES); do \
	  case "$$known" in *"$$library"*) ;; *) missing="$$missing $$library";; esac; \
	done; \
	command -v xvfb-run >/dev/null || missing="$$missing xvfb-run"; \
	test -n "$$missing" || exit 0; \
	echo "Qt and OpenGL need what this system lacks:$$missing"; \
	if test "$$(id -u)" = 0; then sudo=; else sudo="sudo -n"; fi; \
	if command -v apt-get >/dev/null && $$sudo true 2>/dev/null \
	  && $$sudo apt-get update -qq \
	  && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
	    --no-install-recommends $(PACKAGES) >/dev/null; \
	then echo "Installed them."; \
	else echo "They could not be installed. Without them no window opens." \
	  "On Debian and Ubuntu run:"; \
	  echo "  sudo apt-get install $(PACKAGES)"; fi
endif
