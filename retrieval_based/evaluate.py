"""Accuracy and recall of what recall.py found; every query counts once.

Label names as the corpus, where the best hit is the answer:
    python retrieval_based/evaluate.py --recall_result_file recall_result/recall_result.txt

Training texts as the corpus, whose labels vote; how many of them and how much nearness counts is chosen on a recall
result of other queries:
    python retrieval_based/evaluate.py --recall_result_file recall_result/test.txt \\
        --dev_recall_result_file recall_result/dev.txt

recall@k is the share of queries with a hit of their label among the first k. The figures go to <output_file> too.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import parse_argv
from retrieval_based.data import read_recalled
from retrieval_based.scores import recall_at, recalled_arrays
from retrieval_based.utils import vote
from utils import UsageError, exit_on_usage_error, write_lines


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--recall_result_file", type=Path, default=Path("recall_result/recall_result.txt"), help="(%(default)s)")
    add("--dev_recall_result_file", type=Path, help="of other queries on the same corpus, to choose the vote on")
    add("--vote_k", type=int, help="hits that vote, in the place of --dev_recall_result_file")
    add("--vote_temperature", type=float, help="its temperature; the smaller, the more the nearest count")
    add("--output_file", type=Path, help="(default: result.tsv beside --recall_result_file)")
    args = parse_argv(parser, argv)
    if (args.vote_k is None) != (args.vote_temperature is None):
        parser.error("--vote_k and --vote_temperature: give both")
    if args.vote_k is not None and (args.vote_k < 1 or not args.vote_temperature > 0):
        parser.error("--vote_k must be 1 or more, --vote_temperature above 0")
    if args.vote_k is not None and args.dev_recall_result_file:
        parser.error("--dev_recall_result_file chooses --vote_k and --vote_temperature; give it, or those")
    args.output_file = args.output_file or args.recall_result_file.parent / "result.tsv"
    return args


def all_names(*results):
    """All labels in recall results, sorted."""
    return sorted({label for result in results for row in [result.truth, *result.labels] for label in row})


def main(argv=None):
    args = parse_flags(argv)
    given = args.dev_recall_result_file
    if given and given.exists() and args.recall_result_file.exists() and given.samefile(args.recall_result_file):
        problem = "the file that the figures are of; what is chosen on it would make them too good"
        raise UsageError(f"--dev_recall_result_file {given}: {problem}: give a result of other queries")
    test = read_recalled(args.recall_result_file)
    dev = read_recalled(given) if given else None
    names = all_names(test, *([dev] if dev else []))
    scores, label_ids, truth = recalled_arrays(test, names)
    k, temperature = args.vote_k or 1, args.vote_temperature or 1.0
    if dev:
        k, temperature = vote.choose_vote(*recalled_arrays(dev, names), len(names))
    accuracy = vote.accuracy(vote.vote(scores, label_ids, len(names), k, temperature), truth)
    rows = {"queries": len(truth), "accuracy": f"{accuracy:.2%}"}
    rows.update({f"recall@{at}": f"{value:.2%}" for at, value in recall_at(truth, label_ids).items()})
    rows.update({"vote_k": k, "vote_temperature": f"{temperature:g}"})
    lines = [f"{name}\t{value}" for name, value in rows.items()]
    write_lines(args.output_file.parent, {args.output_file.name: lines}, "--output_file")
    print("\n".join(lines))
    print(f"\nThese figures are in {args.output_file}")
    if not dev and args.vote_k is None:
        print("Only the best hit answered. On a corpus of texts let them vote: --dev_recall_result_file FILE")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
