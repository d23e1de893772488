"""Classify texts with an export of few-shot/train.py, on ONNX Runtime.

    cd few-shot
    python infer.py --model_path_prefix checkpoints/export/model --data_dir ./data --batch_size 32 --device cpu
    python infer.py --model_path_prefix checkpoints/export/model --data_dir ./data --device gpu --use_fp16

Template, labels and length come with the export. Texts: test.txt of --data_dir, else its data.txt. Printed: text,
label and score, with tabs between; and the accuracy, where test.txt has labels. Without model.onnx the Paddle graph
runs instead.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import at_least, load_module, parse_argv, require_packages
from core.checkpoints import read_model_config
from core.label_paths import with_levels
from core.progress import progress_bar
from utils import UsageError, exit_on_usage_error, prediction_lines, read_json, read_texts, write_lines

# Batches that are sorted by length together, and shown as one step of the progress bar.
BATCHES_PER_STEP = 8


def parse_flags(argv):
    """Parse and check the flags before any heavy import.

    Raises:
        UsageError: naming all that is wrong.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_path_prefix", type=Path, required=True, help="<output_dir>/export/model, as train.py wrote it")
    add("--data_dir", type=Path, default=Path("./data"), help="folder with test.txt or data.txt (default: ./data)")
    add("--batch_size", type=int, default=32, help="texts that are run together (default: 32)")
    add("--max_seq_length", type=int, help="tokens of an input, prompt included (default: as in training)")
    add("--device", choices=("cpu", "gpu"), default="gpu", help="without a GPU the CPU is used (default: gpu)")
    add("--device_id", type=int, default=0, help="which GPU (default: 0)")
    add("--use_fp16", action="store_true", help="compute in half precision, on a GPU only")
    add("--num_threads", type=int, help="CPU threads (default: the physical cores)")
    add("--result_file", type=Path, help="write Text, Label, Prediction and Score here instead of printing")
    flags = parse_argv(parser, argv)
    problems = at_least(flags, batch_size=1, max_seq_length=3, num_threads=1, device_id=0)
    if flags.use_fp16 and flags.device != "gpu":
        problems.append("--use_fp16 works on a GPU only; leave it out, or add --device gpu")
    if problems:
        raise UsageError("\n".join(problems))
    return flags


def choose_format(prefix):
    """onnx, or paddle with a message where model.onnx is missing.

    Raises:
        UsageError: neither graph is there.
    """
    onnx, paddle = (prefix.with_name(prefix.name + ending) for ending in (".onnx", ".pdmodel"))
    if onnx.is_file():
        require_packages("infer.py", "onnx", "onnxruntime", requirements="deploy/requirements.txt")
        return "onnx"
    command = f"python train.py --do_export --export_type onnx --output_dir {prefix.parent.parent}"
    if not paddle.is_file():
        raise UsageError(f"{onnx}: no such file; train first, or export what is trained: {command}")
    print(f"{onnx}: no such file; running {paddle.name} on Paddle instead. To have it: {command}", file=sys.stderr)
    return "paddle"


def choose_device(flags, format):
    """gpu:<n>, or cpu with a message where the library that runs the graph has no GPU."""
    if flags.device == "cpu":
        return "cpu"
    if format == "onnx":
        import onnxruntime

        has_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    else:
        import paddle

        has_gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if has_gpu:
        return f"gpu:{flags.device_id}"
    if flags.use_fp16:
        raise UsageError("--use_fp16 works on a GPU only, and none can be used here; leave it out")
    name = "onnxruntime" if format == "onnx" else "paddlepaddle"
    print(f"--device gpu: this {name} has none to use; using the CPU", file=sys.stderr)
    return "cpu"


def main(argv=None):
    """Classify the texts; print or write the answers.

    Raises:
        UsageError: what the user can mend.
    """
    flags = parse_flags(argv)
    folder = flags.model_path_prefix.parent
    format = choose_format(flags.model_path_prefix)
    id2label = read_json(folder / "id2label.json")
    labels = [id2label[key] for key in sorted(id2label, key=int)]
    texts, truth = read_texts(flags.data_dir, labels)
    positions = (read_model_config(folder / "plm") or {}).get("max_position_embeddings")
    if flags.max_seq_length and positions and flags.max_seq_length > positions:
        raise UsageError(f"--max_seq_length {flags.max_seq_length}: the model has positions for {positions}")

    few_shot = load_module("few_shot_utils", Path(__file__).with_name("utils.py"))  # needs paddle
    predictor = few_shot.PromptPredictor(
        folder,
        format,
        num_threads=flags.num_threads,
        batch_size=flags.batch_size,
        device=choose_device(flags, format),
        precision="fp16" if flags.use_fp16 else "fp32",
        max_seq_length=flags.max_seq_length,
    )
    answers, step = [], flags.batch_size * BATCHES_PER_STEP
    with progress_bar(total=len(texts), unit="text") as bar:
        for start in range(0, len(texts), step):
            chunk = texts[start : start + step]
            answers += predictor.classify(chunk)
            bar.update(len(chunk))

    if flags.result_file:
        rows = prediction_lines(texts, truth and [labels[index] for index in truth], answers)
        write_lines(flags.result_file.parent, {flags.result_file.name: rows}, "--result_file")
        print(f"{len(texts)} predictions are in {flags.result_file}")
        print(f"Next, the least sure ones first: sort -t$'\\t' -k4,4n {flags.result_file} | head")
    else:
        for text, (label, score) in zip(texts, answers):
            print(f"{text}\t{label}\t{score:.4f}")
    if truth is not None:
        right = sum(label == labels[index] for (label, _), index in zip(answers, truth))
        print(f"Accuracy: {right / len(texts):.2%} ({right} of {len(texts)} texts)", file=sys.stderr)
        levels = predictor.paths.scores(truth, [labels.index(label) for label, _ in answers])
        print("\n".join(with_levels([], "test", levels)), end="\n" * (len(levels) > 0), file=sys.stderr)


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
