# make demo     segment the pictures that ship with the repository, with the small model that ships with it
# make test     the tests that need neither GPU nor network; make test-slow the long ones; make lint the style
# make stress   a training that is killed ten times and stopped three times, against an unbroken one
# make web      a page in the browser: drop a picture, type words, see the masks (ARGS="--port 8080 --model catseg_b")
# make test-web the tests of that page which drive Chromium ($CHROME, chromium or google-chrome)
# make docs     the site, into output/site; ARGS=serve shows it and follows what is edited
# make bench    time of both methods on this machine, against bare image encoders; table and plot in benchmarks/results
# make gpu      checks, times, memory and training of the small models on a GPU (ARGS="speed train" for some parts, ARGS=
#               --dry-run for a machine without one); a table per part in OUTPUT, by default output/gpu
#
# Each target first brings .venv up to date (tools/bootstrap.py), which takes no time where it is. Settings:
#   PYTHON=python3.12          the Python to make .venv with (3.11, 3.12 or 3.13; found on PATH where not given)
#   DETECTRON2=git             detectron2 from upstream's repository (needs a C++ compiler) instead of the pinned wheel
#   MODEL=catseg_b INPUT=a.jpg VOCABULARY="cat,sofa" OUTPUT=folder DEVICE=cuda   passed on to demo/demo.py
#   SEED=12                    another seed for the scenes that `make demo` draws
#   TESTS=tests/test_assets.py the tests to run; ARGS=... further arguments for demo.py or pytest

VENV ?= .venv
PYTHON ?=
DETECTRON2 ?=
TESTS ?=
ARGS ?=
SEED ?= 11
# The extras of setup.py that a target needs. A part whose tests `make test` runs adds its extra to TEST_EXTRAS.
DEMO_EXTRAS = demo
TEST_EXTRAS = $(DEMO_EXTRAS) docs export formats ray web test
DEMO_OUTPUT = $(or $(OUTPUT),output/demo)

MODEL_OPTIONS = $(if $(MODEL),--model "$(MODEL)") $(if $(VOCABULARY),--vocabulary "$(VOCABULARY)") \
	$(if $(DEVICE),--device "$(DEVICE)")
DEMO_OPTIONS = $(MODEL_OPTIONS) $(if $(INPUT),--input "$(INPUT)") --output "$(DEMO_OUTPUT)"

# Where it is set, every process compiles all that it imports, three seconds each time. Bytecode lies in .venv and in the
# __pycache__ folders that git ignores.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-test demo web docs test test-slow test-web stress bench gpu lint clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# A name on PATH may be a shim that does not run, so each candidate is run.
PYTHONS = python3.12 python3.11 python3.13 python3 python
define SET_UP
@for python in $(or $(PYTHON),$(VENV)/bin/python $(PYTHONS)); do \
	if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then \
		exec $$python tools/bootstrap.py --venv "$(VENV)" --extras $(1) --detectron2 "$(DETECTRON2)"; \
	fi; \
done; \
echo "setup: error: Python 3.11, 3.12 or 3.13 is needed, found none ($(or $(PYTHON),tried $(PYTHONS))):" \
	"install one and run make PYTHON=/path/to/python3.12" >&2; exit 1
endef

setup:
	$(call SET_UP,$(DEMO_EXTRAS))

# A target of its own: in `make demo test` each target is made once, with what the first one needs.
setup-test:
	$(call SET_UP,$(TEST_EXTRAS))

# Without INPUT: the shipped pictures, two scenes drawn now, and last one in a style that no model was trained on.
demo: setup
ifdef INPUT
	$(VENV)/bin/python demo/demo.py $(DEMO_OPTIONS) $(ARGS)
else
	$(VENV)/bin/python tools/draw_scenes.py --seed $(SEED) --count 2 --words demo/images/vocabulary.txt --output output/scenes
	$(VENV)/bin/python demo/demo.py --input demo/images output/scenes demo/images_held_out_style $(DEMO_OPTIONS) \
		$(if $(MODEL),,--model emojiscapes_catseg) $(ARGS)
endif

web:
	$(call SET_UP,$(DEMO_EXTRAS) web)
	$(VENV)/bin/openvocab web --examples demo/images $(ARGS)

# Strict: a link or a heading that does not exist ends it.
docs:
	$(call SET_UP,$(DEMO_EXTRAS) docs)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs $(or $(ARGS),build --strict)

# One worker per core; a file's tests share a worker and what its fixtures build. tests/conftest.py has the order.
PYTEST = $(VENV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: setup-test
	$(PYTEST) -m "not slow and not browser" $(ARGS) $(TESTS)

# A test that hangs says where after a quarter of an hour. Asked of every short test, that takes 3 ms of each.
test-slow: setup-test
	$(PYTEST) -m "slow and not browser" -o faulthandler_timeout=900 $(ARGS) $(TESTS)

stress: setup-test
	$(VENV)/bin/python -m pytest -s tests/engine/test_stress.py $(ARGS)

# In one process: a browser and a server keep two cores busy.
test-web:
	$(call SET_UP,$(TEST_EXTRAS) browser)
	$(VENV)/bin/python -m pytest -m browser $(ARGS) $(or $(TESTS),tests/web tests/cli)

bench: setup
	$(VENV)/bin/python benchmarks/speed.py --output benchmarks/results/speed_cpu $(ARGS)
	$(VENV)/bin/python benchmarks/label_map_memory.py --output benchmarks/results/label_map_memory.csv

gpu: setup-test
	$(VENV)/bin/python benchmarks/gpu.py $(ARGS) --output "$(or $(OUTPUT),output/gpu)"

lint: setup-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:
	rm -rf $(VENV) build dist output *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
