# make train   environment, offline encoder, training on data/, export, two predictions
# make test    the tests; make lint: the linter; make bench-…: speed and accuracy
# Needs python3 (3.9-3.12) and make; on Windows, and without make, the README has the plain pip and python lines.

.DELETE_ON_ERROR:
.PHONY: train predict test test-slow lint lock bench-train bench-quality bench-models bench-data bench-analysis bench-serving \
    bench-few-shot bench-retrieval

VENV := .venv
PYTHON := $(VENV)/bin/python
ENCODER := data/offline_encoder
# Any paddlepaddle-gpu machine: make train REQUIREMENTS=requirements-gpu.txt
REQUIREMENTS := requirements.txt
TRAIN_FLAGS := --num_train_epochs 6 --learning_rate 1e-4

# The base interpreter: python3 if it fits, else the first of the versions that do.
FITS := import sys, venv; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))
BASE_PYTHON := $(shell for p in python3 python3.11 python3.12 python3.10 python3.9; do \
	$$p -c "$(FITS)" >/dev/null 2>&1 && { echo $$p; break; }; done)

train: $(VENV)/.installed $(ENCODER)/config.json
	$(PYTHON) train.py --do_train --do_eval --do_export \
	    --model_name_or_path $(ENCODER) --output_dir checkpoint \
	    --early_stopping True --early_stopping_patience 5 $(TRAIN_FLAGS) \
	    --max_length 128 --per_device_eval_batch_size 32 --per_device_train_batch_size 32 \
	    --metric_for_best_model accuracy --load_best_model_at_end --logging_steps 5 \
	    --evaluation_strategy epoch --save_strategy epoch --save_total_limit 1
	@$(MAKE) --no-print-directory predict

predict: $(VENV)/.installed
	$(PYTHON) -c 'from paddlenlp import Taskflow; \
	    cls = Taskflow("text_classification", task_path="checkpoint/export", is_static_model=True); \
	    [print(result) for result in cls(["黑苦荞茶的功效与作用及食用方法", "幼儿挑食的生理原因是"])]'

# A real Triton for tests/deploy, where its wheel runs; elsewhere, and where it cannot be had, those tests are skipped.
TRITON := $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),.venv-triton/.installed)

# A real Milvus for tests/retrieval_based, in the same way.
MILVUS := $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),.venv-milvus/.installed)

test: $(VENV)/.installed-dev $(TRITON) $(MILVUS)
	$(PYTHON) -m pytest -m "not slow"

# What needs minutes, the real data in ../shared, or a real doccano (in an environment of its own).
test-slow: $(VENV)/.installed-dev $(ENCODER)/config.json .venv-doccano/.installed $(TRITON) $(MILVUS)
	$(PYTHON) -m pytest -m slow --timeout 3600

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# Speed of one epoch, side by side with PyTorch; DATA may be any data folder.
DATA := ../shared/kuake_qic
bench-train: $(VENV)/.installed $(ENCODER)/config.json .venv-torch/.installed
	$(PYTHON) tests/bench_train.py speed --data_dir $(DATA) --torch_python .venv-torch/bin/python

# Accuracy of three seeds beside TF-IDF + LinearSVC.
bench-quality: $(VENV)/.installed $(ENCODER)/config.json
	$(PYTHON) tests/bench_train.py quality --data_dir $(DATA)

# Accuracy and latency of every model, width and format; writes docs/bench_models.json and .png.
bench-models: $(VENV)/.installed-bench $(ENCODER)/config.json
	$(PYTHON) tests/bench_models.py --data_dir $(DATA) --work_dir .bench

# Accuracy with what analysis/sparse.py and analysis/dirty.py give, on 500 training samples.
bench-analysis: $(VENV)/.installed-bench $(ENCODER)_6/config.json
	$(PYTHON) tests/bench_analysis.py --data_dir $(DATA)

# Label names, votes, classifier and hybrid; new labels; unknown texts; build and query time of the indexes.
bench-retrieval: $(VENV)/.installed-bench $(ENCODER)/config.json $(MILVUS)
	$(PYTHON) tests/bench_retrieval.py --data_dir $(DATA) --parts accuracy \
		--dual_flags "--positives label --margin 0 --scale 20 --epochs 3"
	$(PYTHON) tests/bench_retrieval.py --data_dir $(DATA)
	$(PYTHON) tests/bench_index.py --data_dir $(DATA)

# Accuracy with few labels: fine-tuning, prompts and sentence vectors.
bench-few-shot: $(VENV)/.installed-bench $(ENCODER)/config.json $(ENCODER)_mlm/config.json
	$(PYTHON) tests/bench_few_shot.py --data_dir ../shared

# Load and faults of the servers in deploy/ beside PaddleNLP's own; EXPORT may be any export folder with ONNX and INT8.
EXPORT := checkpoint/export
bench-serving: $(VENV)/.installed-bench $(TRITON)
	$(PYTHON) tests/bench_serving.py --export_dir $(EXPORT)

# Time and memory of the data tools on a million lines, on one core.
bench-data: $(VENV)/.installed $(ENCODER)/config.json
	$(PYTHON) tests/bench_data.py --model_name_or_path $(ENCODER)

$(ENCODER)/config.json: data/build_encoder.py | $(VENV)/.installed
	$(PYTHON) data/build_encoder.py --output_dir $(ENCODER)
	@touch $@

$(ENCODER)_6/config.json: data/build_encoder.py | $(VENV)/.installed
	$(PYTHON) data/build_encoder.py --output_dir $(ENCODER)_6 --num_hidden_layers 6
	@touch $@

# A head for masked words, which prompts need, from the texts of both sets of bench-few-shot, none of which it tests on.
MLM_TEXTS := $(DATA)/train.txt $(wildcard ../shared/tnews_fewshot/train.txt ../shared/tnews_fewshot/dev.txt)
$(ENCODER)_mlm/config.json: data/build_encoder.py data/mlm_head.py $(ENCODER)/config.json | $(VENV)/.installed
	$(PYTHON) data/build_encoder.py --encoder $(ENCODER) --output_dir $(ENCODER)_mlm --mlm_texts $(MLM_TEXTS)
	@touch $@

$(VENV)/.installed: $(wildcard requirements*.txt) constraints.txt
	@test -n "$(BASE_PYTHON)" || { echo "No python3 of version 3.9 to 3.12 with the venv module was found;" \
	    "install python3.11 and python3.11-venv (Debian, Ubuntu), or python@3.11 (Homebrew)." >&2; exit 2; }
	test -x $(PYTHON) || $(BASE_PYTHON) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt \
	    -r requirements-serving.txt -r requirements-analysis.txt -r requirements-retrieval.txt
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-serving.txt \
	    -r requirements-analysis.txt -r requirements-retrieval.txt
	@touch $@

.venv-doccano/.installed: data/requirements-doccano.txt
	test -x .venv-doccano/bin/python || $(BASE_PYTHON) -m venv .venv-doccano
	.venv-doccano/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Only the server of nvidia-pytriton is used: its Python package's own dependencies are left out.
.venv-triton/.installed: deploy/triton_serving/requirements-triton-test.txt constraints.txt
	test -x .venv-triton/bin/python || $(BASE_PYTHON) -m venv .venv-triton
	@if .venv-triton/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<; then touch $@; \
	else echo "Triton cannot be installed: tests/deploy/test_triton.py is skipped for the most part" >&2; fi

# Only the server's programs: the wheel needs nothing else.
.venv-milvus/.installed: retrieval_based/requirements-milvus-test.txt
	test -x .venv-milvus/bin/python || $(BASE_PYTHON) -m venv .venv-milvus
	@if .venv-milvus/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<; then touch $@; \
	else echo "Milvus cannot be installed: the tests that need its server are skipped" >&2; fi

.venv-torch/.installed:
	test -x .venv-torch/bin/python || $(BASE_PYTHON) -m venv .venv-torch
	.venv-torch/bin/python -m pip install --quiet --disable-pip-version-check \
	    torch==2.13.0 transformers==5.23.0 "numpy<2"
	@touch $@

# Rewrites constraints.txt after a change of requirements*.txt; needs uv. Versions that are there are kept.
lock:
	uv pip compile requirements.txt requirements-*.txt --universal --python-version 3.9 \
	    --exclude-newer 2024-10-15 --no-annotate --no-header -o constraints.txt
