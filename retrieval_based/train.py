"""Train a dual encoder with in-batch negatives: texts near texts of their label and near its name.

One card or CPU:
    python retrieval_based/train.py --train_set_file data/train.txt --corpus_file data/label.txt \\
        --similar_text_pair_file data/dev.txt --save_dir checkpoint/retrieval --device gpu

Several cards, each text's negatives being those of all of them:
    unset CUDA_VISIBLE_DEVICES; python -m paddle.distributed.launch --gpus 0,1 retrieval_based/train.py …

Without a model hub: python data/build_encoder.py, then --model_name_or_path data/offline_encoder.

Each --save_steps, or at the end of each epoch, a checkpoint goes to <save_dir>/model_<step>; with --evaluate True the
one with the best accuracy on --similar_text_pair_file is in <save_dir>/model_best. The same seed gives the same
weights, also after a break that --resume_from_checkpoint <save_dir>/model_<step> continues.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.any_file import read_any_examples
from core.arguments import at_least, boolean, parse_argv
from core.cpu import end_one_of_several
from retrieval_based.checkpoints import check_resumable
from retrieval_based.data import read_corpus
from retrieval_based.search import add_corpus_flags, corpus_problems
from utils import exit_on_usage_error


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    encoder = "an encoder, or a checkpoint to go on from with new data (default: %(default)s)"
    positives = "what a text is drawn near: its label's name, another text of its label, both (%(default)s)"
    add("--train_set_file", type=Path, default=Path("data/train.txt"), help="<text>, tab, <label> (%(default)s)")
    add_corpus_flags(parser)
    add("--model_name_or_path", default="rocketqa-zh-dureader-query-encoder", help=encoder)
    add("--save_dir", type=Path, default=Path("checkpoint/retrieval"), help="(default: %(default)s)")
    add("--resume_from_checkpoint", type=Path, help="a model_<step> of this training, to continue it")
    add("--positives", choices=("label", "text", "both"), default="both", help=positives)
    add("--margin", type=float, default=0.2, help="taken off the cosine with the positive (default: %(default)s)")
    add("--scale", type=float, default=30.0, help="that cosines are multiplied with (default: %(default)s)")
    add("--output_emb_size", type=int, help="units of a vector; 0: the encoder's own (default: 256)")
    add("--pooling", choices=("mean", "cls"), help="mean of all tokens, or the first one (default: mean)")
    add("--max_seq_length", type=int, help="tokens kept of a text (default: 64)")
    add("--batch_size", type=int, default=64, help="texts of a step on one process (default: %(default)s)")
    add("--learning_rate", type=float, default=5e-5, help="its highest value (default: %(default)s)")
    add("--epochs", type=int, default=10, help="(default: %(default)s)")
    add("--warmup_proportion", type=float, default=0.0, help="of the steps, in which the rate rises (%(default)s)")
    add("--weight_decay", type=float, default=0.0, help="(default: %(default)s)")
    add("--evaluate", type=boolean, default=True, help="at each checkpoint (default: %(default)s)")
    add("--save_steps", type=int, default=0, help="between checkpoints; 0: one an epoch (default: %(default)s)")
    add("--save_total_limit", type=int, default=0, help="checkpoints kept beside model_best; 0: all (%(default)s)")
    add("--log_steps", type=int, default=10, help="(default: %(default)s)")
    add("--device", default="gpu", help="gpu, gpu:<n> or cpu; without a GPU the CPU is used (default: %(default)s)")
    add("--seed", type=int, default=42, help="of batches, positives, dropout, projection (default: %(default)s)")
    args = parse_argv(parser, argv)
    problems = at_least(args, batch_size=2, epochs=1, log_steps=1, output_emb_size=0, max_seq_length=3)
    problems += at_least(args, save_steps=0, save_total_limit=0)
    for name in ("scale", "learning_rate"):
        if not getattr(args, name) > 0:
            problems.append(f"--{name} {getattr(args, name)}: give a number above 0")
    for name in ("warmup_proportion", "margin"):
        if not 0 <= getattr(args, name) < 1:
            problems.append(f"--{name} {getattr(args, name)}: give a number from 0 to below 1")
    problems += corpus_problems(args)
    if problems:
        parser.error("\n".join(problems))
    return args


def read_data(args):
    """Read the training texts, the corpus and, with --evaluate, the dev texts.

    Returns:
        tuple: Corpus; texts and class ids (in the order of its names) for training; the same of dev, or None.
    """
    corpus = read_corpus(args.corpus_file)
    labels = list(corpus.names)
    dev = read_any_examples(args.similar_text_pair_file, labels) if args.evaluate else None
    return corpus, read_any_examples(args.train_set_file, labels), dev


def main(argv=None):
    args = parse_flags(argv)
    corpus, train_data, dev = read_data(args)
    if args.resume_from_checkpoint:
        check_resumable(args.resume_from_checkpoint)
    from retrieval_based.learner import train  # needs paddle, which takes seconds

    learner = train(args, corpus, train_data, dev)
    if learner.rank > 0:
        return
    folder = args.save_dir / ("model_best" if args.evaluate else f"model_{learner.step}")
    reached = f"best accuracy on {args.similar_text_pair_file}: {learner.best:.2%}, "
    print(f"{reached if args.evaluate else ''}{folder}")
    print(f"Next: python retrieval_based/export_model.py --params_path {folder}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
    end_one_of_several()
