# Two commands do all the set-up on a fresh machine (Debian with python3, python3-venv, make, gcc):
#   make demo   the main job: data -> training -> canary -> promotion -> rollback, on real processes
#   make test   all checks
#   make deploy-cpu, wait, url ...   on Kubernetes (docs/kubernetes.md)
# Variables: PYTHON (interpreter for the virtual environment), VENV, TORCH_INDEX (an index of CPU wheels of
# PyTorch for machines where the plain wheel is the CUDA build), DEMO_ARGS, PYTEST_ARGS, BENCH_ARGS, FUZZ_SECONDS.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FUZZ_SECONDS ?= 600
PIP_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
export OMP_NUM_THREADS ?= 1

.PHONY: $(shell sed -nE 's/^([a-z-]+):.*\#\#.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=...)."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "Python's venv is missing: apt-get install python3-venv."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_INDEX) -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(VENV)/.ready ## the main job, from a data set to judged, promoted models (DEMO_ARGS="--window-seconds 180")
	$(BIN)/serinus demo $(DEMO_ARGS)

test: lint unit processes browser ## all checks

lint: $(VENV)/.ready ## format, lint, types, layers, docs that are generated
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/reference.py --check

unit: $(VENV)/.ready ## everything that needs no process tree, on all cores (PYTEST_ARGS="-n 0 tests/api -k login": on one)
	$(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal -m "not processes and not browser and not long" $(PYTEST_ARGS)

processes: $(VENV)/.ready ## real processes, real HTTP, kill -9
	$(BIN)/pytest -m "processes and not long" $(PYTEST_ARGS)

browser: $(VENV)/.ready ## real Chromium (skipped where there is none)
	$(BIN)/pytest -m "browser and not long" $(PYTEST_ARGS)

test-long: $(VENV)/.ready ## what takes long: learning goals, 50 kills, five canaries at four rates, the whole demo, the documented path
	$(BIN)/pytest -m long --timeout 3600 -s $(PYTEST_ARGS)

bench-store: $(VENV)/.ready ## the cost of a store that grows old (BENCH_ARGS="--quick --json FILE")
	$(BIN)/python bench/store.py $(BENCH_ARGS)

bench-evidence: $(VENV)/.ready ## what counting a request and judging a slice cost, with baselines
	$(BIN)/python bench/evidence.py

# Whoever names an interpreter that has Serinus installed measures with it.
ifneq ($(origin PYTHON),file)
BENCH_PYTHON := $(shell $(PYTHON) -c 'import serinus, cv2, httpx, onnx, psutil, rich' 2>/dev/null && echo $(PYTHON))
endif

bench-serve: $(if $(BENCH_PYTHON),,$(VENV)/.ready) ## what serving costs beside the raw loop and peers (BENCH_ARGS="--quick --json FILE")
	$(or $(BENCH_PYTHON),$(BIN)/python) bench/serve.py $(BENCH_ARGS)

bench-start: $(VENV)/.ready ## what a start of the inference service costs, and its memory (BENCH_ARGS="--quick --install")
	$(BIN)/python bench/start.py $(BENCH_ARGS)

bench-scale: $(VENV)/.ready ## what 1 to 1,000 replicas cost in the store, simulated (BENCH_ARGS="--s3 --json FILE")
	$(BIN)/python bench/scale.py $(BENCH_ARGS)

bench-capacity: $(VENV)/.ready ## requests a second and memory of one core by model size (BENCH_ARGS="--json FILE")
	$(BIN)/python bench/capacity.py $(BENCH_ARGS)

bench-swap: $(VENV)/.ready ## what a canary and a swap cost those whom current answers (BENCH_ARGS="--quick --json FILE --markdown")
	$(BIN)/python -m bench.swap $(BENCH_ARGS)

bench-live: $(VENV)/.ready ## how long an event takes to 50 screens: streams, tabs, browsers (BENCH_ARGS="--screens 50 --events 12 --json FILE")
	$(BIN)/python bench/live.py $(BENCH_ARGS)

bench-obey: $(VENV)/.ready ## from a decision to the last of five replicas that obeys it (BENCH_ARGS="--quick --markdown")
	$(BIN)/python -m bench.obey $(BENCH_ARGS)

bench-gates: $(VENV)/.ready ## how often a class gate refuses equal versions, and broken ones (BENCH_ARGS="--runs 100")
	$(BIN)/python bench/gates.py $(BENCH_ARGS)

fuzz: $(VENV)/.ready ## look for forms that are read otherwise than by the library (FUZZ_SECONDS=600)
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade --target build/fuzz atheris==3.0.0
	mkdir -p build/forms
	PYTHONPATH=build/fuzz $(BIN)/python -m tests.api.fuzz_forms build/forms tests/api/forms -max_len=4096 -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build/

bench-import: $(VENV)/.ready ## memory and time of large imports (BENCH_ARGS="--pairs 500 5000 --json FILE")
	$(BIN)/python bench/importing.py $(BENCH_ARGS)

bench-train: $(VENV)/.ready ## what the compact trainer learns in how long (BENCH_ARGS="--quick --json FILE")
	$(BIN)/python bench/train.py $(BENCH_ARGS)

simulation: $(VENV)/.ready ## measure the default policy again; renews docs/statistics.md and its plots (ten minutes)
	$(BIN)/serinus simulate --rollouts 2000 --seed 1 --out build/simulation
	$(BIN)/serinus simulate --rollouts 2000 --seed 1 --signals --out build/simulation
	$(BIN)/python tools/measured.py build/simulation

docs: $(VENV)/.ready ## generate the references in docs/
	$(BIN)/python tools/reference.py

base: $(VENV)/.ready ## train the packaged base model anew
	$(BIN)/python -m serinus.training.base src/serinus/base

# Kubernetes: tools/cluster.sh says what each needs, and what is missing.

images: ## build the images serve and train (ENGINE=docker|podman|buildah TAG PREFIX BASE GPU=1 TORCH_INDEX PIP_ARGS BUILD_ARGS)
	tools/images.sh

manifests: $(VENV)/.ready ## build the Job templates of k8s/ anew, after a change of k8s/jobs, components or images
	$(BIN)/python tools/manifests.py

up: ## start a local cluster: minikube or kind (CLUSTER=kind)
	tools/cluster.sh up

addons: ## ingress and metrics-server, where minikube brings them
	tools/cluster.sh addons

build-cpu: ## build the images and load them into the local cluster
	tools/cluster.sh build

deploy-cpu: ## Serinus into namespace xview, on one node (OVERLAY=base|s3|gpu: on many)
	tools/cluster.sh deploy

undeploy: ## take Serinus away again; volumes, Jobs and the token stay
	tools/cluster.sh undeploy

wait: ## until infer, ui and controller are ready (TIMEOUT=600s)
	tools/cluster.sh wait

url: ## where it is reached
	tools/cluster.sh url

logs: ## follow the logs of all of it (FOLLOW=0: what there is)
	tools/cluster.sh logs

scale-infer: ## so many replicas of infer: make scale-infer n=3
	n='$(n)' tools/cluster.sh scale

job-train: ## train on the newest upload, as the dashboard does (EPOCHS=5 BATCH=4)
	tools/cluster.sh job-train

nuke: ## delete the namespace with all models and data, after asking (YES=1; CLUSTER=minikube|kind: the cluster, too)
	tools/cluster.sh nuke

clean: ## remove the virtual environment and what the demo made
	rm -rf $(VENV) demo
