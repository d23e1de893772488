"""Ask the Triton model seqcls (see build_models.py) for the classes of texts, over gRPC.

    python seqcls_grpc_client.py                              # two example texts
    python seqcls_grpc_client.py --texts 头疼挂什么科 医保卡能刷吗
    python seqcls_grpc_client.py --file ../../data/data.txt > result.txt

--file holds a text a line, or text<Tab>label as train.txt does. Exit code 0 means that every text got its answer.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.arguments import at_least, parse_argv, require_packages
from core.progress import progress_bar
from utils import exit_on_usage_error, read_cases

EXAMPLES = ["黑苦荞茶的功效与作用及食用方法", "幼儿挑食的生理原因是"]


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--url", default="127.0.0.1:8001", help="host:port of Triton's gRPC (default: %(default)s)")
    add("--model", default="seqcls", help="(default: %(default)s)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--texts", nargs="+", default=EXAMPLES, help="texts to classify")
    what.add_argument("--file", help="a file of texts to classify, one a line, in UTF-8")
    add("--batch_size", type=int, default=32, help="texts a request, at most the model's limit (default: %(default)s)")
    add("--timeout", type=float, default=30, help="seconds that an answer may take (default: %(default)s)")
    add("--wait", type=float, default=0, help="seconds to wait for the model to be ready (default: %(default)s)")
    args = parse_argv(parser, argv)
    if problems := at_least(args, batch_size=1):
        parser.error("; ".join(problems))
    if not args.timeout > 0:
        parser.error(f"--timeout {args.timeout}: give seconds above 0")
    return args


def main(argv=None):
    args = parse_flags(argv)
    texts = [text for _, text, *_ in read_cases(args.file)] if args.file else args.texts
    require_packages("seqcls_grpc_client.py", "tritonclient", "grpcio", requirements="deploy/requirements.txt")
    from deploy.triton_serving.connection import Client

    client = Client(args.url, args.model, args.timeout, args.wait)
    size = min(args.batch_size, client.max_batch_size)
    with progress_bar(total=len(texts), unit="text", disable=not args.file) as bar:
        for start in range(0, len(texts), size):
            batch = texts[start : start + size]
            for text, (label, confidence) in zip(batch, client.classify(batch)):
                print(f"text: {text}\tlabel: {label}\tconfidence: {confidence:.4f}")
            bar.update(len(batch))


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
