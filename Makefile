# make train   environment, offline encoder, training on data/, export, two predictions
# make test    the tests; make lint: the linter; make bench-…: speed and accuracy (tests/bench/bench.mk)
# Needs python3 (3.10-3.12) and make; on Windows, and without make, the README has the plain pip and python lines.

.DELETE_ON_ERROR:
.PHONY: train predict test test-slow test-paddle3 lint lock lock-runtime audit

VENV := .venv
PYTHON := $(VENV)/bin/python
ENCODER := data/offline_encoder
# Any paddlepaddle-gpu machine: make train REQUIREMENTS=requirements-gpu.txt
REQUIREMENTS := requirements.txt
# What more than training and prediction needs.
EXTRAS := deploy/requirements.txt analysis/requirements.txt retrieval_based/requirements.txt \
	core/requirements-compress.txt data/requirements-convert.txt
TRAIN_FLAGS := --num_train_epochs 6 --learning_rate 1e-4

# The base interpreter: python3 if it fits, else the first of the versions that do.
FITS := import sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
BASE_PYTHON := $(shell for p in python3 python3.11 python3.12 python3.10; do \
	$$p -c "$(FITS)" >/dev/null 2>&1 && { echo $$p; break; }; done)

train: $(VENV)/.installed $(ENCODER)/config.json
	$(PYTHON) train.py --do_train --do_eval --do_export \
	    --model_name_or_path $(ENCODER) --output_dir checkpoint \
	    --early_stopping True --early_stopping_patience 5 $(TRAIN_FLAGS) \
	    --max_length 128 --per_device_eval_batch_size 32 --per_device_train_batch_size 32 \
	    --metric_for_best_model accuracy --load_best_model_at_end --logging_steps 5 \
	    --evaluation_strategy epoch --save_strategy epoch --save_total_limit 1
	@$(MAKE) --no-print-directory predict
	@echo "See its mistakes:  $(PYTHON) train.py --do_eval --debug True --model_name_or_path checkpoint"
	@echo "Make it smaller:   $(PYTHON) train.py --do_compress --model_name_or_path checkpoint" \
	    "--output_dir checkpoint/prune --learning_rate 1e-4 --num_train_epochs 4 --width_mult_list 3/4 1/2"
	@echo "Serve it:          $(PYTHON) -m pip install -r deploy/requirements.txt && cd deploy/simple_serving &&" \
	    "../../$(VENV)/bin/paddlenlp server server:app --port 8189"

predict: $(VENV)/.installed
	$(PYTHON) -c 'from paddlenlp import Taskflow; \
	    cls = Taskflow("text_classification", task_path="checkpoint/export", is_static_model=True); \
	    [print(result) for result in cls(["黑苦荞茶的功效与作用及食用方法", "幼儿挑食的生理原因是"])]'

# A real Triton for tests/deploy, where its wheel runs; elsewhere, and where it cannot be had, those tests are skipped.
TRITON := $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),.venv-triton/.installed)

# A real Milvus for tests/retrieval_based, in the same way.
MILVUS := $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),.venv-milvus/.installed)

# How many processes run the tests; more than one: one thread each.
JOBS := $(if $(filter-out 0 1,$(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null)),2,1)
PYTEST := -m pytest -m "not slow" $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist loadfile)
THREADS := $(if $(filter-out 1,$(JOBS)),OMP_NUM_THREADS=1)

test: $(VENV)/.installed-dev $(TRITON) $(MILVUS)
	$(THREADS) $(PYTHON) $(PYTEST)

# What needs minutes, the real data in ../shared, or a real doccano (in an environment of its own).
test-slow: $(VENV)/.installed-dev $(ENCODER)/config.json .venv-doccano/.installed .venv-schemathesis/.installed \
		.venv-ray/.installed .venv-label-studio/.installed $(TRITON) $(MILVUS)
	$(PYTHON) -m pytest -m slow --timeout 3600

# The second supported set: Paddle 3 (README.md, 2.1), in an environment of its own.
test-paddle3: .venv-paddle3/.installed $(TRITON) $(MILVUS)
	$(THREADS) .venv-paddle3/bin/python $(PYTEST) --ignore tests/test_stack.py

.venv-paddle3/.installed: constraints-paddle3.txt
	test -x .venv-paddle3/bin/python || $(BASE_PYTHON) -m venv .venv-paddle3
	.venv-paddle3/bin/python -m pip install --quiet --disable-pip-version-check paddlepaddle==3.1.1 -r $<
	@touch $@

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

$(ENCODER)/config.json: data/build_encoder.py | $(VENV)/.installed
	$(PYTHON) data/build_encoder.py --output_dir $(ENCODER)
	@touch $@

$(VENV)/.installed: requirements.txt requirements-gpu.txt core/requirements.txt constraints.txt
	@test -n "$(BASE_PYTHON)" || { echo "No python3 of version 3.10 to 3.12 with the venv module was found;" \
	    "install python3.11 and python3.11-venv (Debian, Ubuntu), or python@3.11 (Homebrew)." >&2; exit 2; }
	test -x $(PYTHON) || $(BASE_PYTHON) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS)
	@touch $@

$(VENV)/.installed-dev: tests/requirements.txt $(EXTRAS) $(VENV)/.installed
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt $(EXTRAS:%=-r %)
	@touch $@

# Ray, for the slow test of deploy/batch/predict_ray.py.
.venv-ray/.installed: deploy/batch/requirements.txt deploy/batch/constraints.txt
	test -x .venv-ray/bin/python || $(BASE_PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv-doccano/.installed: data/requirements-doccano.txt
	test -x .venv-doccano/bin/python || $(BASE_PYTHON) -m venv .venv-doccano
	.venv-doccano/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv-label-studio/.installed: data/requirements-label-studio.txt
	test -x .venv-label-studio/bin/python || $(BASE_PYTHON) -m venv .venv-label-studio
	.venv-label-studio/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv-schemathesis/.installed: tests/deploy/requirements-schemathesis.txt
	test -x .venv-schemathesis/bin/python || $(BASE_PYTHON) -m venv .venv-schemathesis
	.venv-schemathesis/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Only the server of nvidia-pytriton is used: its Python package's own dependencies are left out.
.venv-triton/.installed: tests/deploy/requirements-triton.txt constraints.txt
	test -x .venv-triton/bin/python || $(BASE_PYTHON) -m venv .venv-triton
	@if .venv-triton/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<; then touch $@; \
	else echo "Triton cannot be installed: tests/deploy/test_triton.py is skipped for the most part" >&2; fi

# Only the server's programs: the wheel needs nothing else.
.venv-milvus/.installed: tests/retrieval_based/requirements-milvus.txt
	test -x .venv-milvus/bin/python || $(BASE_PYTHON) -m venv .venv-milvus
	@if .venv-milvus/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<; then touch $@; \
	else echo "Milvus cannot be installed: the tests that need its server are skipped" >&2; fi

# Rewrites constraints.txt after a change of requirements; needs uv. Versions that are there are kept: delete the file
# first to get the newest. A line that no wheel for Windows meets makes uv resolve for Windows by itself, where Paddle
# holds protobuf down, and much with it. paddlepaddle-gpu is added by hand: its wheel for Windows states bounds that
# hold there alone, and would be taken for all systems.
lock:
	echo "milvus-lite<3" | uv pip compile - requirements.txt tests/requirements.txt $(EXTRAS) --universal \
	    --python-version 3.10 --no-annotate --no-header -o constraints.txt
	echo "paddlepaddle-gpu==2.6.2" >> constraints.txt
	grep -v "^paddlepaddle\|^paddle2onnx\|^paddleslim\|^opencv" constraints.txt > .lock
	grep -hv "^-\|^#\|^paddle2onnx\|^paddleslim" core/requirements.txt tests/requirements.txt $(EXTRAS) | \
	    { cat; echo "milvus-lite<3"; echo "paddlepaddle==3.1.1"; echo "paddle2onnx==2.0.1; sys_platform != 'win32'"; } | \
	    uv pip compile - -c .lock --universal --python-version 3.10 --no-annotate --no-header -o .lock3
	grep -v "^paddlepaddle==" .lock3 > constraints-paddle3.txt
	rm .lock .lock3

# The same for the runtime without Paddle; from Python 3.9 to the newest that its wheels allow.
lock-runtime:
	grep -v "^-\|^#" deploy/requirements-runtime.txt | uv pip compile - --universal --python-version 3.9 --no-annotate \
	    --no-header -o deploy/constraints-runtime.txt
	grep -hv "^-\|^#" deploy/requirements-runtime.txt deploy/batch/requirements.txt | uv pip compile - --universal \
	    -c deploy/constraints-runtime.txt --python-version 3.10 --no-annotate --no-header -o deploy/batch/constraints.txt

# Pins with known advisories, in an environment of its own; asks the advisories' databases over the network.
audit: .venv-audit/.installed
	.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

.venv-audit/.installed:
	test -x .venv-audit/bin/python || $(BASE_PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	@touch $@

include tests/bench/bench.mk
