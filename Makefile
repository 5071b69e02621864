# Everything from nothing but Python 3.10+ and the package registries, in a virtual environment of its own.
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo
# A file in one test process, in the order of their names: by the number of their tests, which is the default, the
# longest would come last. Each process with one thread of PyTorch. Slow tests wait for other processes and for clocks
# a good part of their time, so three at a time keep two cores busy.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder --durations=15
FAST := $(PYTEST) -n 2 -m "not slow"

.PHONY: demo test fast lint bench browser archive poc poc-down clean

demo: $(VENV)/.runtime
	rm -rf $(RUN)
	$(BIN)/fedxai run jobs/fedxai --out $(RUN)

test: $(VENV)/.test $(VENV)/.quantus browser archive lint
	$(FAST)
	PYTHONPATH=$(VENV)/quantus $(BIN)/python -m pytest -q tests/score/test_against_quantus.py
	$(PYTEST) -n 3 -m slow

fast: $(VENV)/.test
	$(FAST)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/.test
	$(BIN)/python benchmarks/explain_cost.py
	$(BIN)/python benchmarks/simulator_overhead.py
	$(BIN)/python benchmarks/shortcut_alarm.py
	$(BIN)/python benchmarks/gate.py
	$(BIN)/python benchmarks/intake.py
	$(BIN)/python benchmarks/intervals.py
	$(BIN)/python benchmarks/ledger.py
	$(BIN)/python benchmarks/explanation_guided.py --seeds 0
	$(BIN)/python benchmarks/label_loop.py

# Tests of the report use a real browser: installed where that is possible, named where it is not.
browser:
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver >/dev/null; \
	else echo "left out: tests/e2e/test_report_in_browser.py (bring it with: sudo apt-get install chromium chromium-driver)"; fi

# Tests of the radiologist's desk use a real DICOM archive, Orthanc; each test starts one of its own on loopback.
archive:
	@if command -v Orthanc >/dev/null && test -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq orthanc orthanc-dicomweb >/dev/null; \
	else echo "left out: tests/label/test_orthanc_*.py, tests/e2e/test_label_ohif.py (bring it with: sudo apt-get install orthanc orthanc-dicomweb)"; fi

$(VENV)/bin/python:
	python3 -m venv $(VENV)

# torch comes first and by itself: its CPU build is then taken where there is one.
$(VENV)/.runtime: $(VENV)/bin/python constraints.txt pyproject.toml
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

# MONAI Label comes without its dependencies, which would replace PyTorch; what it needs is the extra "label".
$(VENV)/.test: $(VENV)/.runtime
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test,lint,label,metrics]"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps monailabel pydicom-seg
	touch $@

# Quantus asks for another OpenCV and torchvision than are here, so it lies beside the rest, for the tests that ask it.
$(VENV)/.quantus: $(VENV)/.test
	$(BIN)/pip install --quiet --no-deps --target $(VENV)/quantus quantus==0.6.0 opencv-python-headless==5.0.0.93
	touch $@

# Server and three sites on 127.0.0.1 over mutual TLS, each site with a phantom cohort of its own.
poc: $(VENV)/.runtime
	test -d poc_workspace/workspace || $(BIN)/fedxai deploy init --phantom --out poc_workspace/workspace
	$(BIN)/fedxai deploy up poc_workspace/workspace

poc-down:
	$(BIN)/fedxai deploy down poc_workspace/workspace

clean:
	rm -rf $(VENV) runs simulator_workspace
