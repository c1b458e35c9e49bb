# make lab opens the course; make test holds it to its word. Recipes call Python only, so that
# they mean the same in every shell. PYTHON=python3.12 builds and uses .venv-python3.12.

PYTHON ?= python3
VENV ?= $(if $(filter python3 python,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
# TORCH=cpu takes PyTorch's build for processors, from PyTorch's own index; so does the address of an index.
TORCH ?=
# GROUP=core leaves out what only single cells need: Ray, Lightning, TensorBoard, trackers.
GROUP ?=
# uv or pip; without it, uv where it is to be had.
INSTALLER ?=
# A constraints file for the set-up; CI gives tests/constraints.txt, learners get the newest in range.
CONSTRAINTS ?=
# make notebooks ONLY=07: those whose names begin so.
ONLY ?=
# make hand-in NAME="Ann Lee": the name that a learner hands in under.
NAME ?=

IN_VENV := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
SET_UP := $(PYTHON) tools/set_up.py --venv $(VENV) $(if $(TORCH),--torch $(TORCH)) \
	$(if $(INSTALLER),--installer $(INSTALLER)) $(if $(CONSTRAINTS),--constraints $(CONSTRAINTS))

.PHONY: help setup setup-tests lab test test-oldest check notebooks robustness case-study slides site recordings bench bank races widths engines hand-in handouts

# $(info ...) prints without a shell, so that the columns and any sign stay as they are.
help:
	$(info make lab          open the course in JupyterLab)
	$(info make test         everything: units, all notebooks, hygiene, browser)
	$(info make test-oldest  the same with the oldest releases, in .venv-oldest)
	$(info make check        the quick part of it: lint, units, hygiene)
	$(info make notebooks    run all notebooks again and store their outputs, or ONLY=07)
	$(info make robustness   repeat the claims with wider grids, and with doubled training)
	$(info make case-study   run notebook 10 without a screen and print its final table)
	$(info make hand-in      write your record to one file for a teacher: NAME=...)
	$(info make handouts     for teachers: pages to print, in build/handouts)
	$(info make slides       a deck of slides of every notebook, in build/slides)
	$(info make site         the whole course as a web site, in build/site)
	$(info make recordings   record every lab for the web site, in build/labs, may be interrupted)
	$(info make bank         train the 3,072 runs of the search bank anew, may be interrupted)
	$(info make races        replay all races between search methods on the bank, may be interrupted)
	$(info make widths       train the stored runs of notebook 12 anew, may be interrupted)
	$(info make engines      measure the stored searches of notebook 14 anew, may be interrupted)
	$(info make bench        how fast the engine is)
	@cd .

# Both return at once where nothing is left to do: set_up.py keeps a stamp.
setup:
	@$(SET_UP) $(if $(GROUP),--group $(GROUP))

setup-tests:
	@$(SET_UP) --group tests

lab: setup
	$(IN_VENV) tools/lab.py

test: setup-tests
	$(IN_VENV) -m pytest

test-oldest:
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=tests/constraints-oldest.txt

check: setup-tests
	$(IN_VENV) -m pytest tests -m "not slow" --durations=5

notebooks: setup-tests
	$(IN_VENV) tools/run_notebooks.py $(ONLY)

robustness: setup-tests
	$(IN_VENV) tools/run_notebooks.py --altered widened $(ONLY)
	$(IN_VENV) tools/run_notebooks.py --altered doubled $(ONLY)

case-study: setup-tests
	$(IN_VENV) tools/case_study.py

slides: setup-tests
	$(IN_VENV) tools/build_slides.py $(ONLY)

site: setup-tests
	$(IN_VENV) tools/build_site.py

recordings: setup-tests
	$(IN_VENV) tools/record_labs.py $(ONLY)

bench: setup-tests
	$(IN_VENV) tests/benchmarks/bench_engine.py

bank: setup
	$(IN_VENV) tools/build_bank.py

races: setup
	$(IN_VENV) tools/build_races.py

widths: setup
	$(IN_VENV) tools/build_widths.py

engines: setup
	$(IN_VENV) tools/build_engine_times.py

hand-in: setup
	$(IN_VENV) tools/hand_in.py "$(NAME)"

handouts: setup
	$(IN_VENV) tools/handouts.py
