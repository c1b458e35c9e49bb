# make lab opens the course; make test holds it to its word. Recipes call Python only, so that
# they mean the same in every shell. PYTHON=python3.12 builds and uses .venv-python3.12.

PYTHON ?= python3
VENV ?= $(if $(filter python3 python,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
# A pip constraints file for the set-up; CI gives tests/constraints.txt, learners get the newest in range.
CONSTRAINTS ?=
# make notebooks ONLY=07: those whose names begin so.
ONLY ?=

IN_VENV := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
SET_UP := $(PYTHON) tools/set_up.py --venv $(VENV) $(if $(CONSTRAINTS),--constraints $(CONSTRAINTS))

.PHONY: help setup lab test check notebooks case-study slides site bench bank

help:
	@echo make lab          open the course in JupyterLab
	@echo make test         everything: units, all notebooks, hygiene, browser
	@echo make check        the quick part of it: lint, units, hygiene
	@echo make notebooks    run all notebooks again and store their outputs, or ONLY=07
	@echo make case-study   run notebook 07 without a screen and print its final table
	@echo make slides       a deck of slides of every notebook, in build/slides
	@echo make site         the whole course as a web site, in build/site
	@echo make bank         train the 3,072 runs of the search bank anew; may be interrupted
	@echo make bench        how fast the engine is

# set_up.py writes the stamps; a target that finds its own fresh starts at once.
$(VENV)/course.stamp: requirements.txt pyproject.toml
	$(SET_UP)

$(VENV)/tests.stamp: requirements.txt requirements-site.txt requirements-test.txt pyproject.toml $(CONSTRAINTS)
	$(SET_UP) --tests

setup: $(VENV)/course.stamp

lab: $(VENV)/course.stamp
	$(IN_VENV) tools/lab.py

test: $(VENV)/tests.stamp
	$(IN_VENV) -m pytest

check: $(VENV)/tests.stamp
	$(IN_VENV) -m pytest tests -m "not slow" --durations=5

notebooks: $(VENV)/tests.stamp
	$(IN_VENV) tools/run_notebooks.py $(ONLY)

case-study: $(VENV)/tests.stamp
	$(IN_VENV) tools/case_study.py

slides: $(VENV)/tests.stamp
	$(IN_VENV) tools/build_slides.py $(ONLY)

site: $(VENV)/tests.stamp
	$(IN_VENV) tools/build_site.py

bench: $(VENV)/tests.stamp
	$(IN_VENV) tests/benchmarks/bench_engine.py

bank: $(VENV)/course.stamp
	$(IN_VENV) tools/build_bank.py
