"""Ask server.py for the classes of texts.

    python client.py                                            # two example texts
    python client.py --max_seq_len 64 --batch_size 16 --top_k 3
    python client.py --file ../../data/data.txt --output result.jsonl

--file holds a text a line, or text<Tab>label as train.txt does; --output gets a line of JSON a text, in the same
order, and is written when all are there.
A request has no side effect, so that it is sent again when the connection breaks or the server is busy.
"""

import argparse
import collections
import contextlib
import json
import os
import sys
import time
from pathlib import Path

import requests
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.arguments import at_least, parse_argv
from core.confidence import share_problem
from core.label_paths import UNKNOWN, confidence_problem, unknown_problem
from core.progress import progress_bar
from core.waits import pause_before
from utils import MAX_NAMES_IN_MESSAGE, UsageError, exit_on_usage_error, read_cases, write_lines

EXAMPLES = ["黑苦荞茶的功效与作用及食用方法", "幼儿挑食的生理原因是"]
# Answers that another try may change: too many requests, a proxy without its server, a server that is busy or stops.
RETRIED = (429, 502, 503, 504)
# Seconds: the first pause between tries, each next one being twice as long, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="(default: %(default)s)")
    add("--port", type=int, default=8189, help="(default: %(default)s)")
    add("--model", default="cls_multi_class", help="its name on the server (default: %(default)s)")
    add("--url", help="the whole address, instead of the three above: http://127.0.0.1:8189/models/cls_multi_class")
    add("--max_seq_len", type=int, help="tokens kept of a text (default: as the model was trained)")
    add("--batch_size", type=int, default=32, help="texts run together at most (default: %(default)s)")
    add("--top_k", type=int, default=1, help="most probable classes of each text; 0 means all (default: %(default)s)")
    limit = (
        "0 to 1: of labels such as illness##cold the deepest level that is so sure, else unknown with the best guess; "
        "or accuracy:0.98, where answers are right so often"
    )
    none = "(default: none, the most probable label)"
    add("--min_confidence", type=number_or_text, metavar="LIMIT", help=f"{limit} {none}")
    add("--unknown", metavar="NAME", help="what that answer is called (default: as the server says, else unknown)")
    add(
        "--conformal", type=float, metavar="SHARE", help="0.9 or 0.95: in top, labels that hold the right one so often"
    )
    add("--file", help="texts to classify, one a line, in UTF-8")
    add("--output", help="where the answers to --file go (default: its name with .result.jsonl)")
    add("--chunk", type=int, default=256, help="texts of --file a request (default: %(default)s)")
    add("--timeout", type=float, default=60, help="seconds that an answer may take (default: %(default)s)")
    add("--retries", type=int, default=5, help="further tries of a request (default: %(default)s)")
    add("--api_key", default=os.environ.get("SERVING_API_KEY"), help="(default: $SERVING_API_KEY)")
    args = parse_argv(parser, argv)
    if problems := at_least(args, chunk=1, retries=0):
        parser.error("; ".join(problems))
    if args.min_confidence is not None and (problem := confidence_problem(args.min_confidence)):
        parser.error(f"--min_confidence {args.min_confidence}: {problem}")
    if args.unknown is not None and (problem := unknown_problem(args.unknown)):
        parser.error(f"--unknown {args.unknown}: {problem}")
    if args.unknown is not None and args.min_confidence is None:
        parser.error("--unknown is what answers below --min_confidence are called; give that too")
    if args.conformal is not None and (problem := share_problem(args.conformal)):
        parser.error(f"--conformal {args.conformal}: {problem}")
    if args.conformal is not None and args.top_k != 1:
        parser.error("--conformal decides how many labels a text gets; leave --top_k out")
    if not args.timeout > 0:
        parser.error(f"--timeout {args.timeout}: give seconds above 0")
    if args.output and not args.file:
        parser.error("--output is for the answers to --file; give that too")
    host = f"[{args.host}]" if ":" in args.host and not args.host.startswith("[") else args.host  # IPv6
    args.url = args.url or f"http://{host}:{args.port}/models/{args.model}"
    return args


def number_or_text(value):
    """The type of --min_confidence: a number, else the text, such as accuracy:0.98."""
    with contextlib.suppress(ValueError):
        return float(value)
    return value


def reason(response):
    """Why the server refused, in its own words where it gave any."""
    try:
        error = response.json()["error"]
        return f"{error['message']}" + (f" ({error['field']})" if "field" in error else "")
    except (ValueError, KeyError, TypeError):
        return f"it answered {response.text[:100]!r}"


def is_ours(response):
    """Whether server.py has answered, and not something before it."""
    return response.headers.get("Content-Type", "").startswith("application/json")


def proxy_hint(url):
    """What to try where a variable sends requests through a proxy, such as a company's; else nothing."""
    try:
        host = requests.utils.urlparse(url).hostname or ""
        proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    except ValueError:
        return ""
    if not proxy:
        return ""
    return f"; $http_proxy (or https_proxy, all_proxy) sends it through {proxy}: without it, set NO_PROXY={host}"


def classify(session, args, texts):
    """Send one request, again where that may help.

    Args:
        session (requests.Session): keeps the connection open.
        args: as parse_flags gives it.
        texts (list[str]): not empty.

    Returns:
        dict[str, list]: label, confidence, label_id, with --min_confidence guess, guess_confidence and guess_id, and
        top unless --top_k is 1 and --conformal not given; an entry a text. And unknown (str), how that is called
        where it is called otherwise.

    Raises:
        UsageError: the server refused, cannot be reached, or is not server.py.
    """
    parameters = {"batch_size": args.batch_size, "top_k": args.top_k}
    if args.conformal is not None:
        parameters = {"batch_size": args.batch_size, "conformal": args.conformal}
    if args.max_seq_len is not None:
        parameters["max_seq_len"] = args.max_seq_len
    if args.min_confidence is not None:
        parameters["min_confidence"] = args.min_confidence
    if args.unknown is not None:
        parameters["unknown"] = args.unknown
    body = {"data": {"text": texts, "text_pair": None}, "parameters": parameters}
    headers = {"X-API-Key": args.api_key.encode()} if args.api_key else {}
    proxy = proxy_hint(args.url)
    for attempt in range(args.retries + 1):
        response = None
        try:
            response = session.post(args.url, json=body, headers=headers, timeout=args.timeout)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            what = "no answer in time" if isinstance(error, requests.Timeout) else "no connection"
            problem = f"{what}; is the server running there? Or give --host, --port, --timeout{proxy}"
        except (requests.RequestException, ValueError) as error:
            raise UsageError(f"{args.url}: {error}; correct --url{proxy}") from None
        else:
            problem = f"{response.status_code}: {reason(response)}" if response.status_code != 200 else None
            if response.status_code not in (200, *RETRIED):
                raise UsageError(f"{args.url}: {problem}{'' if is_ours(response) else proxy}")
        if not problem:
            break
        if attempt == args.retries:
            hint = "" if response is None or is_ours(response) else proxy
            raise UsageError(f"{args.url}: {problem} (tried {attempt + 1} times){hint}")
        pause = pause_before(attempt + 1, response, FIRST_PAUSE, LONGEST_PAUSE)
        tqdm.write(f"{problem.split(';')[0]}; trying again in {pause:.1f} s", file=sys.stderr)
        time.sleep(pause)
    try:
        result = response.json()["result"]
        needed = ("label", "confidence", *(("guess",) if args.min_confidence is not None else ()))
        needed += ("top",) if args.conformal is not None else ()
        complete = all(len(result[name]) == len(texts) for name in needed)
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise UsageError(f"{args.url}: {response.text[:100]!r} is no answer of server.py; correct --url{proxy}")
    return result


def answers(texts, result):
    """A dict a text: text, label, confidence, and guess, guess_confidence, window and top where there are such."""
    names = ("label", "confidence", "guess", "guess_confidence", "window", "top")
    names = [name for name in names if name in result]
    for index, text in enumerate(texts):
        yield {"text": text, **{name: result[name][index] for name in names}}


def summary(found, min_confidence=None, unknown=UNKNOWN):
    """How often the labels came, and how many answers are less sure than not, or than asked for; a line.

    Args:
        found (list[dict]): as answers gives them.
        min_confidence (float | str | None): the limit that was asked for.
        unknown (str): what is not so sure is called.
    """
    counts = collections.Counter(answer["label"] for answer in found)
    shown = ", ".join(f"{label} {count}" for label, count in counts.most_common(MAX_NAMES_IN_MESSAGE))
    more = " …" if len(counts) > MAX_NAMES_IN_MESSAGE else ""
    if min_confidence is not None:
        count = sum(answer["label"] == unknown for answer in found)
        limit = min_confidence if isinstance(min_confidence, str) else f"{min_confidence:g}"
        return f"{shown}{more}; {count} {unknown}, surer than {limit} of nothing: read these first"
    unsure = sum(answer["confidence"] < 0.5 for answer in found)
    return f"{shown}{more}; {unsure} with a confidence below 0.5: read these first"


def main(argv=None):
    args = parse_flags(argv)
    texts = [text for _, text, *_ in read_cases(args.file)] if args.file else EXAMPLES
    found, unknown = [], UNKNOWN
    with requests.Session() as session, progress_bar(total=len(texts), unit="text", disable=not args.file) as bar:
        for start in range(0, len(texts), args.chunk):
            chunk = texts[start : start + args.chunk]
            try:
                result = classify(session, args, chunk)
            except UsageError as error:
                where = f"{args.file}: in texts {start + 1} to {start + len(chunk)}: " if args.file else ""
                raise UsageError(f"{where}{error}") from None
            found += answers(chunk, result)
            unknown = result.get("unknown", UNKNOWN)
            bar.update(len(chunk))
    lines = [json.dumps(answer, ensure_ascii=False) for answer in found]
    if not args.file:
        print("\n".join(lines))
        return
    output = Path(args.output or f"{args.file}.result.jsonl")
    write_lines(output.parent, {output.name: lines}, "--output")
    print(f"{len(lines)} answers are in {output}")
    print(summary(found, args.min_confidence, unknown))


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
