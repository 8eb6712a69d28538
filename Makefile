# Two commands do all the set-up on a machine with Python 3.11 and make: `make train` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINI := data/mini

.PHONY: env train check test lint fast chaos app readme notebooks bench bench-long bench-speed gpu oldest load hostile fuzz demo-model browser check-export check-clean check-readme check-notebooks families
env: $(VENV)/.installed
$(VENV)/.installed: settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'simpsons_fastai needs Python 3.11 or newer: make PYTHON=python3.11'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e '.[dev]'
	touch $@

$(MINI): | env
	$(BIN)/simpsons mini $(MINI)

train: env $(MINI)
	$(BIN)/simpsons train $(MINI) --arch resnet18 --size 64 --epochs 16 --bs 32 --weights none

app: env
	$(BIN)/python -m simpsons_fastai.gradio_app

# in minutes: what a change breaks most often
check: env lint check-export check-clean check-readme fast

lint: env
	$(BIN)/ruff check .

fast: env
	$(BIN)/python -m pytest -q tests/test_house.py tests/test_project.py tests/test_target.py tests/test_data.py

# what CI runs: two workers, a thread each, a file at a time
test: env browser lint check-export check-clean check-readme check-notebooks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# trainings that are killed and starved in every way we know, and at 100 random moments more
chaos: env
	$(BIN)/python -m pytest -m chaos tests/test_resume.py
	$(BIN)/python tests/chaos.py --kills 100

# of every family of timm's networks: what stays of a network is what runs; 3 minutes
families: env
	$(BIN)/python -m pytest -m families tests/test_families.py

# nbdev_export leaves no difference
check-export: env
	rm -rf build/export && mkdir -p build && cp -r simpsons_fastai build/export
	$(BIN)/nbdev_export
	diff -r -x __pycache__ build/export simpsons_fastai

# the notebooks are clean: nbdev_clean leaves no difference
check-clean: env
	rm -rf build/nbs && mkdir -p build && cp -r nbs build/nbs
	$(BIN)/nbdev_clean --fname build/nbs
	diff -r -x .ipynb_checkpoints nbs build/nbs

# README.md is what nbs/index.ipynb says
define readme_to
	$(BIN)/jupyter nbconvert --log-level ERROR --to markdown --output-dir $(1) --output README nbs/index.ipynb
	sed -i 's#(images/#(nbs/images/#g; 1{/^$$/d}; /^\*After: /,+1d' $(1)/README.md
endef
readme: env
	$(call readme_to,.)
check-readme: env
	mkdir -p build/readme
	$(call readme_to,build/readme)
	diff README.md build/readme/README.md

# two at a time, a thread each; what notebooks leave in the temporary folder goes with them
check-notebooks: env
	rm -rf build/tmp && mkdir -p build/tmp
	TMPDIR=$(CURDIR)/build/tmp OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n-workers 2 --timing; status=$$?; rm -rf build/tmp; exit $$status

# run every notebook and keep its outputs
notebooks: env
	PYTHONWARNINGS=ignore $(BIN)/nbdev_test --n-workers 1 --save --timing
	$(BIN)/python nbs/navigation.py
	$(BIN)/nbdev_clean

# the short set, under 10 minutes on 2 cores
bench: env
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/inference.py --n 96

# a folder of 2,000 pictures, streams of 2,000 and 20,000, the time to a score on DATA, what saving costs, and archives
bench-long: env
	$(BIN)/python benchmarks/inference.py --n 2000
	$(BIN)/python benchmarks/inference.py --case small --n 2000 --memory
	$(BIN)/python benchmarks/time_to_f1.py $(DATA)
	$(BIN)/python benchmarks/resume.py --data $(DATA)
	$(BIN)/python benchmarks/archive.py --memory --timeline --ray

# does speed='auto' choose well? 10 minutes on 2 cores
bench-speed: env
	$(BIN)/python benchmarks/speed.py $(ARGS)

# what needs a GPU, in at most 6 minutes; ARGS='--device cpu --small' tries the script itself where there is none
gpu: env
	$(BIN)/python benchmarks/gpu.py $(ARGS)

# the service under load, against predict_many on the same pictures, or against another checkout (ARGS='--against PATH'); under N hostile
# uploads, or under load with some of it hostile (ARGS='--soak 3600'); and two functions under a fuzzer. ARGS='--json FILE' keeps the figures
load: env
	$(BIN)/python benchmarks/service.py --seconds 60 $(ARGS)
hostile: env
	$(BIN)/python benchmarks/hostile --n $(or $(N),5000) $(ARGS)
fuzz: env
	$(BIN)/python benchmarks/fuzz.py check_upload --seconds $(or $(SECONDS),600) $(ARGS)
	$(BIN)/python benchmarks/fuzz.py load_bundle --seconds $(or $(SECONDS),600) $(ARGS)

# the model that comes with the package, from the frames in JOURNEY: an hour on 2 cores
JOURNEY ?= ../shared/data/journey
demo-model: env
	$(BIN)/python benchmarks/demo_model.py $(JOURNEY) $(ARGS)

# the oldest versions that settings.ini admits: train, bundle, predict, label, serve; 6 GB of packages, about 10 minutes
oldest: env
	$(PYTHON) -m venv build/oldest
	build/oldest/bin/pip install -q -e . $$($(BIN)/python tests/oldest.py pins)
	build/oldest/bin/python tests/oldest.py smoke

# the browser tests want chromium; where it is missing and we may install it, do
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
	  echo 'no chromium here and no way to install it: the browser test will be skipped'
