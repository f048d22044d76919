# The two commands of a newcomer are `make demo` and `make test`; each sets up what it needs.
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One worker per core; the tests that start processes of their own leave room for them.
WORKERS ?= logical

.PHONY: demo demo-clips test test-slow lint bench eval experiments ui clean

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV), which takes some minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	@exec $(BIN)/video-pipeline demo

demo-clips: $(STAMP)
	@exec $(BIN)/video-pipeline demo-clips

test: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) -m "not slow" --durations=10

test-slow: $(STAMP)
	@scripts/ensure_chromium.sh
	VIDEO_PIPELINE_REQUIRE_BROWSER=1 $(BIN)/pytest -n $(WORKERS) -m slow --durations=10

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP)
	$(BIN)/python -m benchmarks.run

eval: $(STAMP)
	@test -d .cache/training/photos || $(BIN)/python scripts/fetch_training_media.py
	$(BIN)/python -m evaluation.run

experiments: $(STAMP)
	$(BIN)/python -m experiments.run_all

ui: $(STAMP)
	@exec $(BIN)/python -m video_pipeline.demo.ui $(if $(PORT),--port $(PORT))

clean:
	rm -rf $(VENV) .dagster_home data build ./*.egg-info
