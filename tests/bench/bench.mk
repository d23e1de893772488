# Speed and accuracy: make bench-…; a part of the Makefile, whose variables it uses.

.PHONY: bench-train bench-quality bench-models bench-data bench-analysis bench-serving bench-few-shot \
	bench-recipes bench-retrieval bench-confidence bench-runtime bench-monitor bench-batch bench-ray bench-long \
	bench-convert bench-annotation bench-languages

# Speed of one epoch, side by side with PyTorch; DATA may be any data folder.
DATA := ../shared/kuake_qic
bench-train: $(VENV)/.installed $(ENCODER)/config.json .venv-torch/.installed
	$(PYTHON) tests/bench/bench_train.py speed --data_dir $(DATA) --torch_python .venv-torch/bin/python

# Accuracy of three seeds beside TF-IDF + LinearSVC.
bench-quality: $(VENV)/.installed $(ENCODER)/config.json
	$(PYTHON) tests/bench/bench_train.py quality --data_dir $(DATA)

# Accuracy and latency of every model, width, format, student and cascade; writes tests/bench/bench_models.json and .png.
# Students of three strong teachers, without pruning: MODELS_FLAGS="--seeds 1 2 3 --recipe strong --pruners".
MODELS_FLAGS :=
bench-models: $(VENV)/.installed-bench $(ENCODER)/config.json
	$(PYTHON) tests/bench/bench_models.py --data_dir $(DATA) --work_dir .bench $(MODELS_FLAGS)

# Accuracy with what analysis/sparse.py and analysis/dirty.py give, on 500 training samples.
bench-analysis: $(VENV)/.installed-bench $(ENCODER)_6/config.json
	$(PYTHON) tests/bench/bench_analysis.py --data_dir $(DATA)

# Label names, votes, classifier and hybrid; new labels; unknown texts; build and query time of the indexes.
bench-retrieval: $(VENV)/.installed-bench $(ENCODER)/config.json $(MILVUS)
	$(PYTHON) tests/bench/bench_retrieval.py --data_dir $(DATA) --parts accuracy \
		--dual_flags "--positives label --margin 0 --scale 20 --epochs 3"
	$(PYTHON) tests/bench/bench_retrieval.py --data_dir $(DATA)
	$(PYTHON) tests/bench/bench_index.py --data_dir $(DATA)

# False alarms, power, and the error of the estimated accuracy of analysis/monitor.py; MODEL is a trained checkpoint.
MODEL := checkpoint
bench-monitor: $(VENV)/.installed-bench
	$(PYTHON) tests/bench/bench_monitor.py --data_dir ../shared --params_path $(MODEL)

# Labels that deploy/annotation needs to reach 70 and 75 %, with an oracle, and what train.py makes of them and of as
# many random ones (an hour on one core): ANNOTATION_FLAGS="--strategies badge --train_sizes 100 200 300".
ANNOTATION_FLAGS :=
bench-annotation: $(VENV)/.installed-bench $(ENCODER)/config.json
	$(PYTHON) tests/bench/bench_annotation.py --data_dir $(DATA) --encoder $(ENCODER) $(ANNOTATION_FLAGS)

# Accuracy with few labels: fine-tuning, prompts and sentence vectors.
bench-few-shot: $(VENV)/.installed-bench $(ENCODER)/config.json $(ENCODER)_mlm/config.json
	$(PYTHON) tests/bench/bench_few_shot.py --data_dir ../shared

# Which of train.py's recipes are better than plain; days on one core, so choose cells by RECIPE_FLAGS, and add --jobs.
RECIPE_FLAGS :=
bench-recipes: $(VENV)/.installed-bench $(ENCODER)/config.json $(ENCODER)_6/config.json
	$(PYTHON) tests/bench/bench_recipes.py --data_dir ../shared $(RECIPE_FLAGS)

# Beginning, beginning and end, or windows of long texts; START is a model that was trained on the questions of DATA.
START := checkpoint
bench-long: $(VENV)/.installed
	$(PYTHON) tests/bench/bench_long.py --data_dir $(DATA) --model_name_or_path $(START)

# [UNK] by language, and accuracy on English reviews, with a vocabulary that is made of the texts.
bench-languages: $(VENV)/.installed-bench
	$(PYTHON) tests/bench/bench_languages.py

# Load and faults of the servers in deploy/ beside PaddleNLP's own; EXPORT may be any export folder with ONNX and INT8.
EXPORT := checkpoint/export
bench-serving: $(VENV)/.installed-bench $(TRITON)
	$(PYTHON) tests/bench/bench_serving.py --export_dir $(EXPORT)

# Whether the accuracies that an export promises hold on a half of dev that had no part in them.
bench-confidence: $(VENV)/.installed-bench
	$(PYTHON) tests/bench/bench_confidence.py --export_dir $(EXPORT) --data_dir $(DATA)

# The runtime without Paddle beside the full stack, on all texts of ../shared and 5,000 random strings.
bench-runtime: $(VENV)/.installed-bench
	$(PYTHON) tests/bench/bench_runtime.py --export_dir $(EXPORT) --data_dir ../shared

# deploy/batch/predict.py beside the model alone, its memory, and kill -9; a million rows take hours on two cores.
BATCH_FLAGS :=
bench-batch: $(VENV)/.installed-bench
	$(PYTHON) tests/bench/bench_batch.py --data_dir $(DATA) --export_dir $(EXPORT) $(BATCH_FLAGS)

# deploy/batch/predict_ray.py on one node and on two of one CPU each, beside predict.py.
RAY_FLAGS :=
bench-ray: $(VENV)/.installed-bench .venv-ray/.installed
	$(PYTHON) tests/bench/bench_ray.py --data_dir $(DATA) --export_dir $(EXPORT) $(RAY_FLAGS)

# Time and memory of data/convert.py on a million rows of each format; goes on where it was interrupted.
bench-convert: $(VENV)/.installed-bench
	$(PYTHON) tests/bench/bench_convert.py --data_dir $(DATA)

# Time and memory of the data tools on a million lines, on one core.
bench-data: $(VENV)/.installed $(ENCODER)/config.json
	$(PYTHON) tests/bench/bench_data.py --model_name_or_path $(ENCODER)

$(ENCODER)_6/config.json: data/build_encoder.py | $(VENV)/.installed
	$(PYTHON) data/build_encoder.py --output_dir $(ENCODER)_6 --num_hidden_layers 6
	@touch $@

# A head for masked words, which prompts need, from the texts of both sets of bench-few-shot, none of which it tests on.
MLM_TEXTS := $(DATA)/train.txt $(wildcard ../shared/tnews_fewshot/train.txt ../shared/tnews_fewshot/dev.txt)
$(ENCODER)_mlm/config.json: data/build_encoder.py data/mlm_head.py $(ENCODER)/config.json | $(VENV)/.installed
	$(PYTHON) data/build_encoder.py --encoder $(ENCODER) --output_dir $(ENCODER)_mlm --mlm_texts $(MLM_TEXTS)
	@touch $@

$(VENV)/.installed-bench: $(EXTRAS) $(VENV)/.installed
	$(PYTHON) -m pip install --quiet --disable-pip-version-check $(EXTRAS:%=-r %)
	@touch $@

.venv-torch/.installed:
	test -x .venv-torch/bin/python || $(BASE_PYTHON) -m venv .venv-torch
	.venv-torch/bin/python -m pip install --quiet --disable-pip-version-check \
	    torch==2.13.0 transformers==5.23.0 "numpy<2"
	@touch $@
