# `make help` lists the targets. Extra arguments go in ARGS: make tune ARGS="--max-trials 6 --epochs 3"

.DEFAULT_GOAL := help
.PHONY: help install tune fashion plan tensorboard report explain export bench test check test-all \
	test-browser test-cluster test-sources chromium docs lock assets clean FORCE

# What .venv is made with. Empty: the first fit one of python3, python3.13, python3.12, python3.11, python3.10.
PYTHON ?=
export PYTHON

# Sets $python and $version, or ends with one line that says what is wrong and what to install.
define find_python
check='import sys
print(sys.version.split()[0])
if not (3, 10) <= sys.version_info[:2] <= (3, 13): sys.exit(3)
import ensurepip, venv'
if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; else set -- python3 python3.13 python3.12 python3.11 python3.10; fi
unfit= without_venv= found=
for python do
    version=$$("$$python" -c "$$check" 2>/dev/null)
    case $$?,$$version in
        0,*) found=yes; break ;;
        *,) ;; # not there, or no Python
        3,*) unfit="$${unfit:+$$unfit, }$$python is $$version" ;;
        *) [ -n "$$without_venv" ] || { without_venv="$$python ($$version)"; package="python$${version%.*}-venv"; } ;;
    esac
done
if [ -z "$$found" ]; then
    needed="cnn-tuner needs Python 3.10 to 3.13 with venv"
    name="or name another Python: make install PYTHON=/path/to/python3.12"
    if [ -n "$$without_venv" ]; then
        echo "$$needed, but $$without_venv is without venv: install it (Debian, Ubuntu: sudo apt install $$package), $$name" >&2
    elif [ -n "$$unfit" ]; then
        echo "$$needed, but $$unfit: install a fit one (such as: sudo apt install python3.12-venv, brew install python@3.12, pyenv install 3.12), $$name" >&2
    else
        echo "$$needed, but found none under the name $$*: install it (Debian, Ubuntu: sudo apt install python3 python3-venv; macOS: brew install python@3.12), $$name" >&2
    fi
    exit 1
fi
endef
export find_python

# Not usable: this folder was moved or copied, its Python was removed, or PYTHON asks for another one.
version_of = $$("$(1)" -c 'import sys; print(sys.version)' 2>&1)
usable := $(shell [ -x .venv/bin/python ] && grep -qsF "$(CURDIR)/.venv" .venv/bin/cnn-tuner && \
	{ [ -z "$(PYTHON)" ] || [ "$(call version_of,$(PYTHON))" = "$(call version_of,.venv/bin/python)" ]; } && echo yes)
# A process a core, at most four: each loads TensorFlow. A file stays together: its tests may share a run.
parallel := --numprocesses auto --maxprocesses 4 --dist loadfile
pip_install := .venv/bin/python -m pip --quiet --quiet --disable-pip-version-check --no-input install

help: ## list the targets (default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

install: .venv/.installed ## make .venv with the packages of requirements.txt; again only when that list changes

# The stamp is a copy of the list, written last: an interrupted install leaves none, and a list that only looks newer
# (a fresh checkout of the same text) costs nothing.
.venv/.installed: requirements.txt $(if $(usable),,FORCE)
	@if [ -n "$(usable)" ] && cmp -s requirements.txt $@; then touch $@; exit; fi; \
	eval "$$find_python"; set -e; start=$$(date +%s); \
	echo "Setting up .venv with Python $$version: about 1 minute, more while 0.7 GB is downloaded; 2.5 GB on disk"; \
	rm -f $@; \
	"$$python" -m venv --clear .venv; \
	$(pip_install) --only-binary :all: -r requirements.txt; \
	$(pip_install) --no-deps --no-build-isolation --editable .; \
	cp requirements.txt $@; \
	echo "Set up .venv in $$(($$(date +%s) - start)) seconds"

FORCE:

tune: install ## search, log to TensorBoard, export the best model: make tune ARGS="--data fashion_mnist"
	@.venv/bin/cnn-tuner tune $(ARGS)

fashion: install ## an hour on the whole of Fashion-MNIST: make fashion DIR=folder with its four .gz files, or none
	@.venv/bin/cnn-tuner tune --data $(if $(DIR),"idx:$(DIR)",fashion_mnist) --budget 60m $(ARGS)

plan: install ## say what a budget buys: make plan ARGS="--data photos --budget 30m"
	@.venv/bin/cnn-tuner plan $(ARGS)

tensorboard: install ## show the runs in TensorBoard, to this machine only
	@.venv/bin/cnn-tuner tensorboard $(ARGS)

report: install ## write a run's report, one page for a browser: make report RUN=name
	@.venv/bin/cnn-tuner report $(if $(RUN),"$(RUN)") $(ARGS)

export: install ## export a run's best model again and verify it: make export RUN=name
	@.venv/bin/cnn-tuner export $(if $(RUN),"$(RUN)") $(ARGS)

explain: install ## one image through the best model, as a page: make explain RUN=name IMAGE=file
	@.venv/bin/cnn-tuner explain $(if $(RUN),"$(RUN)") $(if $(IMAGE),"$(IMAGE)") $(ARGS)

bench: install ## search beside KerasTuner and Optuna: make bench ARGS="--data idx:folder --budget 8m --seeds 1"
	@.venv/bin/python benchmarks/peers.py $(ARGS)

test: install ## run the fast tests: make test ARGS="-k words"
	@.venv/bin/python -m pytest $(parallel) $(ARGS)

check: install ## check style, formatting and types
	@.venv/bin/python -m ruff check
	@.venv/bin/python -m ruff format --check
	@.venv/bin/python -m mypy

test-all: install ## run every test but those of pages in a browser, the slow ones too
	@.venv/bin/python -m pytest $(parallel) -m "not browser" $(ARGS)

test-sources: install ## tests of Hugging Face and TensorFlow Datasets, whose packages it puts into .venv
	@$(pip_install) --only-binary :all: --no-binary promise -r requirements-sources.txt # of which there is no wheel
	@.venv/bin/python -m pytest tests/data $(ARGS)

test-cluster: install ## tests of Ray, which it puts into .venv: two nodes on this machine, workers and nodes that are killed
	@$(pip_install) --only-binary :all: -r requirements-cluster.txt
	@.venv/bin/python -m pytest -m "slow or not slow" tests/executors tests/commands tests/test_cluster_examples.py -k "ray or cluster" $(ARGS)

test-browser: install ## look at TensorBoard, reports and lessons in chromium; screenshots in browser-shots/
	@command -v chromium >/dev/null || { echo "chromium is missing: make chromium installs it (Debian, Ubuntu)" >&2; exit 1; }
	@.venv/bin/python -m pytest -m browser $(ARGS)

chromium: ## install the browser that test-browser needs, by apt-get
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] || sudo=sudo; $$sudo apt-get update -qq && \
		$$sudo apt-get install -y -qq chromium >/dev/null; }

docs: install ## make the pages in docs/_build/html with Sphinx, which it puts into .venv
	@.venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make docs needs Python 3.11 or later")'
	@$(pip_install) --only-binary :all: -r requirements-docs.txt
	@.venv/bin/python -m sphinx --builder html --fail-on-warning --keep-going --nitpicky --quiet $(ARGS) docs docs/_build/html
	@echo docs/_build/html/index.html

lock: ## make requirements.txt from pyproject.toml, newer versions with ARGS=--upgrade; then test on every Python
	@eval "$$find_python"; set -e; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	"$$python" -m venv "$$scratch/venv"; \
	"$$scratch/venv/bin/python" -m pip --quiet --quiet --disable-pip-version-check install uv; \
	sed -n -e '/^#/!q' -e p requirements.txt > "$$scratch/head"; \
	cp requirements.txt "$$scratch/list"; \
	compile="$$scratch/venv/bin/uv pip compile --quiet --universal --python-version 3.10 --annotation-style line $(ARGS)"; \
	$$compile --no-header --extra dev --extra litert --extra onnx --extra parquet --extra serve \
		--output-file "$$scratch/list" pyproject.toml; \
	cat "$$scratch/head" "$$scratch/list" > requirements.txt; \
	{ echo "# Of requirements.txt, and besides what sources of data need that few have: see \`make test-sources\`."; \
	$$compile --no-header --extra dev --extra litert --extra onnx --extra parquet --extra serve --extra hf --extra tfds \
		--constraint requirements.txt pyproject.toml; } > "$$scratch/sources"; \
	mv "$$scratch/sources" requirements-sources.txt; \
	{ echo "# Of requirements.txt, and Ray: see \`make test-cluster\`."; \
	$$compile --no-header --extra dev --extra litert --extra onnx --extra parquet --extra serve --extra ray \
		--constraint requirements.txt pyproject.toml; } > "$$scratch/cluster"; \
	mv "$$scratch/cluster" requirements-cluster.txt; \
	{ echo "# Of requirements.txt, and Sphinx: see \`make docs\`."; \
	$$compile --no-header --extra dev --extra litert --extra onnx --extra parquet --extra serve --extra docs \
		--constraint requirements.txt pyproject.toml; } > "$$scratch/docs"; \
	mv "$$scratch/docs" requirements-docs.txt

# What the charts of a report are drawn with, inlined into each. tests/test_report.py knows the same version and sum.
echarts := 6.1.0
echarts_sha256 := b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0

assets: ## fetch the chart library of the reports again, with npm
	@set -e; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	(cd "$$scratch" && npm pack --silent echarts@$(echarts) > /dev/null && tar xzf echarts-$(echarts).tgz); \
	cd "$$scratch/package"; \
	echo "$(echarts_sha256)  dist/echarts.min.js" | sha256sum --check --quiet; \
	{ cat NOTICE; printf '\n\n'; cat LICENSE; printf '\n\nlicenses/LICENSE-d3\n-------------------\n'; \
		cat licenses/LICENSE-d3; } > echarts.LICENSE; \
	cp dist/echarts.min.js echarts.LICENSE "$(CURDIR)/cnn_tuner/report/pages/"

clean: ## remove .venv, caches and build products; runs/ stays
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache docs/_build
	@find . -path ./runs -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
