# Everything a newcomer needs: `make demo` and `make test`, each with all its own set-up.
# PYTHON is the interpreter (3.11 or newer) that the environment in .venv is made with.
# TORCH is what is installed as torch; its CPU build is enough.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
DEMO := build/demo
EASY := build/demo-easy
BENCH := build/demo-bench
RL := build/demo-mgrpo
# Tests at once; many wait for processes that they start, so there may be more than processors.
JOBS ?= 4
ASKED := --variants paraphrase,evidence --limit 150
export OMP_NUM_THREADS := 1
# Hundreds of processes start: what one of them has compiled, the others need not.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check suite fast vllm test-vllm clean help big

help:
	@echo "make demo   set up, build a small SLV-Set from the embedded world and a benchmark of it, leave pages to look at"
	@echo "make test   set up, check style and types, run all tests"
	@echo "make suite  the tests alone; make fast leaves out the slow ones"
	@echo "make check  style and types alone"
	@echo "make vllm   set up a vLLM server for the CPU in .venv-vllm; make test-vllm runs the tests against it"
	@echo "make big    the whole of a set of 400,000 regions against a stub server, for hours: time, memory, tokens"
	@echo "make clean  remove the environment and everything built"

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/ready-train: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train]'
	touch $@

.venv/ready-dev: .venv/ready-train
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,serve,train]'
	touch $@

demo: .venv/ready-train
	$(BIN)/slvr-data build-attributes scenes:full --out $(DEMO)
	$(BIN)/slvr-data build-multiquery $(DEMO)
	$(BIN)/slvr-data validate $(DEMO)
	$(BIN)/slvr-data stats $(DEMO)
	$(BIN)/slvr-data build-attributes scenes:easy --seed 7 --out $(EASY)
	$(BIN)/slvr-data build-multiquery $(EASY)
	$(BIN)/slvr-bench build $(EASY) --out $(BENCH) --split all
	$(BIN)/slvr-bench run --model random --data $(BENCH) $(ASKED)
	$(BIN)/slvr-bench run --model blind --data $(BENCH) $(ASKED)
	$(BIN)/slvr-bench run --model slvr:tiny --data $(BENCH) $(ASKED)
	$(BIN)/slvr-bench compare $(BENCH)/runs/blind $(BENCH)/runs/slvr-tiny
	$(BIN)/slvr-train mgrpo --config mgrpo-tiny --init slvr:tiny --resume --set data.set=$(EASY) --set out=$(RL) \
		--set training.steps=4 --set evaluation.regions=16 --set logging.every=1
	@echo "Open these pages in a browser: the set, the report of three models, what the latents of one answer hold, and"
	@echo "what a few steps of reinforcement learning tried"
	$(BIN)/slvr-data preview $(DEMO) --html $(DEMO)/.work/preview.html
	$(BIN)/slvr-bench report $(BENCH)/runs/* --out $(BENCH)-report
	$(BIN)/slvr-train chat slvr:tiny --image $(EASY) --html build/demo-answer.html
	$(BIN)/slvr-train cases $(RL) --html build/demo-cases.html

test: check suite

suite: .venv/ready-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

fast: .venv/ready-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow and not vllm"

check: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# 400,000 regions and their questions against the stub of the tests: hours. BIG=2000 tries it.
BIG ?= 400000

big: .venv/ready-dev
	$(BIN)/python perf/whole.py --regions $(BIG) --out build/big

# vLLM in an environment of its own: its requirements and ours would get in each other's way.
VLLM := .venv-vllm

vllm:
	$(PYTHON) tests/vllm/environment.py $(VLLM)

test-vllm: vllm .venv/ready-dev
	$(BIN)/python -m pytest -m vllm tests/vllm

clean:
	rm -rf .venv $(VLLM) build dist
