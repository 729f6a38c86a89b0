# Every target sets up what it needs: a bare machine with make and Python 3.11 or newer is enough.
PYTHON ?= python3
DATA ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stagewise
ACCURACY := benchmarks/bench_accuracy.py
QUICK ?=
SEED ?=
MINUTES ?= 20
N ?= 100000
SECONDS ?= 60
STEPS ?= 500000

.DEFAULT_GOAL := help
.PHONY: help setup demo up check test test-slow test-browser screenshots notebook test-compose test-chaos chaos machine fuzz malformed memory costs attackers bench bench-accuracy base lock

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with everything in it (again only when the requirements change)

# pip 25.1 is the first that knows dependency groups. torch goes first and alone: a machine with a local CPU wheel takes that one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Stagewise needs Python 3.11 or newer, not " + sys.version.split()[0] + "; name another one: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[embedded,notebook]' --group dev
	@touch $@

demo: $(STAMP) ## Run the main job on a simulated runner, or on your own export: make demo DATA=path
	$(BIN)/stagewise demo $(if $(DATA),--data "$(DATA)")

up: $(STAMP) ## Run the service on this machine until Ctrl-C; its state is in var/
	$(BIN)/stagewise up

check: $(STAMP) ## Lint, format, types, and known vulnerabilities of what is installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/audit.py

test: $(STAMP) ## The quick tests, on two cores side by side
	$(BIN)/pytest -n 2

test-slow: $(STAMP) ## The tests that start servers and workers, two files side by side
	$(BIN)/pytest -m slow -n 2 --dist loadfile --durations 10

test-browser: $(STAMP) ## The dashboard in a real browser (needs Chromium: apt install chromium)
	$(BIN)/pytest -m browser --durations 5

screenshots: $(STAMP) ## Take the documentation's pictures of the dashboard anew
	$(BIN)/python -m tests.browser.screenshots

notebook: $(STAMP) ## Run the notebook of the docs and keep its outputs
	$(BIN)/jupyter execute --inplace docs/notebooks/personal_model.ipynb

test-compose: $(STAMP) ## The whole service in Docker (needs a Docker engine)
	$(BIN)/pytest -m compose

test-chaos: $(STAMP) ## Three minutes of random kills, and that the checker would notice a broken promise
	$(BIN)/pytest -m chaos tests/chaos/test_chaos.py --durations 5

chaos: $(STAMP) ## Kill everything at random under load and check every promise: make chaos SEED=1 MINUTES=20
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

machine: $(STAMP) ## Random histories of jobs beside a model of what they should be: make machine STEPS=500000
	$(BIN)/python -m tests.service.job_machine $(STEPS)

fuzz: $(STAMP) ## Damage files at random and watch what the readers say: make fuzz N=100000
	$(BIN)/python -m tests.fuzz_readers $(N) $(if $(SEED),--seed $(SEED))

malformed: $(STAMP) ## Send broken requests to a real API and count the answers: make malformed N=100000
	$(BIN)/python -m tests.end_to_end.malformed $(N)

memory: $(STAMP) ## Predict again and again and watch the memory of the API: make memory N=100000
	$(BIN)/python -m tests.end_to_end.memory $(N)

costs: $(STAMP) ## Search for the slowest request that is accepted, by endpoint
	$(BIN)/python -m tests.end_to_end.costs

attackers: $(STAMP) ## A minute with an attacker of each kind beside ordinary clients: make attackers SECONDS=60
	$(BIN)/python -m tests.end_to_end.attackers --seconds $(SECONDS)

bench: $(STAMP) ## The benchmarks of speed: each prints a table of ratios
	@set -e; for script in $(filter-out $(ACCURACY),$(wildcard benchmarks/bench_*.py)); do echo "== $$script"; $(BIN)/python $$script; done

bench-accuracy: $(STAMP) ## Train and score every version and baseline on recorded runners: make bench-accuracy QUICK=1
	$(BIN)/python -m pip install --quiet -c constraints.txt --group bench
	$(BIN)/python $(ACCURACY) $(if $(QUICK),--quick)

# torch and what only torch needs stand apart: whoever wants another build of it takes it from another index
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -c constraints.txt
lock: $(STAMP) ## Write the image's requirements anew, with the hashes of the package index: after every change of constraints.txt
	echo "torch; sys_platform == 'never'" | $(LOCK) pyproject.toml --extra image --overrides - -o requirements.lock
	grep '^torch==' constraints.txt | $(LOCK) - -o requirements-torch.lock

base: $(STAMP) ## Train the base model that we ship: make base DATA=population.parquet
	@test -n "$(DATA)" || { echo "Name the training data: make base DATA=population.parquet"; exit 2; }
	$(BIN)/python -m hrmodel base --data "$(DATA)"
