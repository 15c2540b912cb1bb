# make setup  .venv alone; every other target makes what it needs
# make demo   the main job on scikit-learn's digits: a sweep, its table, and its report to look at
# make test   every test
# make lint   ruff
# make data   DATASET=fashion_mnist [PREPARE="--from_debian"]: prepare a TFDS dataset
# make bench  BENCH="train_step loop window sweep read": paired timings, against PyTorch too
# make lock   pin requirements anew
#
# Each target makes what it needs: .tools/ (uv), .venv/ (patchwise), .venv-prepare/ (TensorFlow, for `make data`),
# .venv-bench/ (PyTorch, for `make bench`). .venv is made anew, without what else was installed in it, where the lock has
# changed, where PYTHON asks for another version than it has, and where the Python it was made with has gone.
# ACCELERATOR=cuda or tpu installs requirements/$(ACCELERATOR).txt in place of the CPU lock.

ACCELERATOR ?= cpu
DATASET ?= fashion_mnist
PREPARE ?=
BENCH ?= train_step loop window sweep read

LOCK_cpu := requirements.txt
LOCK_cuda := requirements/cuda.txt
LOCK_tpu := requirements/tpu.txt
LOCK := $(LOCK_$(ACCELERATOR))
ifeq ($(LOCK),)
$(error ACCELERATOR=$(ACCELERATOR): choose cpu, cuda or tpu)
endif

UV := .tools/bin/uv
RUN := .venv/bin/python

# The version that .venv has, which is nothing where it does not run; asked for none, it keeps that.
VERSION = $(shell "$(1)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
HAS := $(call VERSION,$(RUN))
PYTHON ?= $(if $(HAS),$(RUN),python3)
WANTED := $(call VERSION,$(PYTHON))
WITH_PIP := $(if $(filter-out $(RUN),$(PYTHON)),$(PYTHON),python3)

# Where it is set, as in many images of containers, every process would compile all that it imports anew, which is most
# of its start. Packages are compiled once, as they are installed; what is here, by the first process that imports it.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(UV) pip install --compile-bytecode --build-constraints requirements/build.txt --python $(RUN)

.PHONY: setup demo test lint data bench lock clean anew
.DELETE_ON_ERROR:

setup: .venv/.installed-$(ACCELERATOR)

demo: .venv/.installed-$(ACCELERATOR)
	$(RUN) sweep.py --config=configs/demo.py --workdir=runs/demo
	$(RUN) report.py --workdir=runs/demo --notable

test: .venv/.installed-dev
	$(RUN) -m pytest tests

lint: .venv/.installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

data: .venv/.installed-$(ACCELERATOR)
	$(RUN) -m data.prepare $(DATASET) $(PREPARE)

bench: .venv/.installed-$(ACCELERATOR) .venv-bench/.installed
	@set -e; for name in $(BENCH); do $(RUN) -m benchmarks.$$name; done

# By pip rather than uv: it brings what of CUDA this build of torch asks for, which is nothing where that is for the CPU.
.venv-bench/.installed: requirements/bench.txt | $(UV)
	$(UV) venv --quiet --clear --seed --no-python-downloads --python "$(PYTHON)" .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# uv is fetched with pip into a folder of ours: Debian's pip refuses to touch the system's own packages.
$(UV):
	@"$(WITH_PIP)" -m pip --version >/dev/null 2>&1 || \
	  { echo "pip is missing: apt-get install python3-pip" >&2; exit 2; }
	PIP_USER=0 "$(WITH_PIP)" -m pip install --quiet --disable-pip-version-check --target .tools uv==0.13.9

.venv/.installed-cpu .venv/.installed-cuda .venv/.installed-tpu: $(LOCK) | $(UV)
	@case "$(WANTED)" in 3.11|3.12|3.13) ;; *) \
	  echo "patchwise needs Python 3.11 to 3.13; $(PYTHON) is $(or $(WANTED),not there). uv can bring one:" >&2; \
	  echo '  $(UV) python install 3.13; make PYTHON="$$($(UV) python find 3.13)" $(MAKECMDGOALS)' >&2; exit 2;; esac
	$(UV) venv --quiet --clear --no-python-downloads --python "$(PYTHON)" .venv
	$(INSTALL) -r $(LOCK)
	@touch $@
ifneq ($(HAS),$(WANTED))
.venv/.installed-$(ACCELERATOR): anew
endif

.venv/.installed-dev: requirements/dev.txt .venv/.installed-$(ACCELERATOR)
	$(INSTALL) -r requirements/dev.txt
	@touch $@

# One lock for Python 3.11 to 3.13: --universal writes a marker where versions differ.
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --no-header --upgrade
lock: | $(UV)
	$(COMPILE) requirements/base.in -o requirements.txt
	$(COMPILE) requirements/dev.in -c requirements.txt -o requirements/dev.txt
	$(COMPILE) requirements/cuda.in -c requirements.txt -o requirements/cuda.txt
	$(COMPILE) requirements/tpu.in -c requirements.txt -o requirements/tpu.txt
	$(COMPILE) requirements/bench.in --no-annotate -o requirements/bench.txt
	sed -i -E '/^(nvidia-|cuda-|triton)/d' requirements/bench.txt
	$(COMPILE) requirements/prepare.in -o requirements/prepare.txt

clean:
	rm -rf .tools .venv .venv-bench .venv-prepare
