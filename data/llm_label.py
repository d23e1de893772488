"""Let a language model label data.txt, and take only what it has shown to know.

    export LLM_API_KEY=…
    python data/llm_label.py --data_dir my_data --base_url http://127.0.0.1:8000/v1 --model qwen3-8b

Any endpoint in OpenAI's style will do, your own (vLLM, Ollama, llama.cpp) or one that you pay; it gets the names of
the labels, --description_file, a few examples of train.txt, and the texts.

First it labels a sample of dev.txt, whose labels are known: how often it agrees is reported, by label too, and the
confidence is chosen from which on it is right --min_accuracy of the time, by the lower bound of a 95 % interval. Then
it labels data.txt. What is at least so sure goes to labelled.txt, all else to to_annotate.txt for the annotation tool;
where dev shows no such confidence, everything does.

Written to --save_dir (default: <data_dir>/llm):
  agreement.json     what was measured on dev
  labelled.txt       <text>, a tab, <label>
  train.txt          train.txt of --data_dir and labelled.txt behind it
  origins.jsonl      which texts have their label from which model, how sure; check.py and dirty.py read it
  to_annotate.txt    the other texts, the least sure first
  examples.json      the few examples of the requests: they stay as they are while train.txt grows
  answers.jsonl      every answer as it came: after an interruption, or with a higher limit, the same command goes on
"""

import argparse
import concurrent.futures
import hashlib
import json
import math
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from analysis.report import locale_language
from core.arguments import at_least, parse_argv
from core.confusions import wilson
from core.locks import locked_folder
from core.progress import progress_bar
from data.agreement_measures import kappa_of
from data.llm_endpoint import MOST_FAILURES, Budget, Endpoint, NoAnswer, NoFirstAnswer, OutOfBudget, Rate
from data.llm_files import EXAMPLES_FILE, choose_examples, refuse_corrected, write_results
from data.llm_prompts import WORDS, messages_for, parse_answer, system_prompt
from utils import (
    UsageError,
    exit_on_usage_error,
    format_table,
    read_cases,
    read_examples,
    read_labels,
    read_lines,
    staged_files,
    write_json,
)

ANSWERS_FILE = "answers.jsonl"
# Fewer dev answers than this show nothing.
LEAST_ANSWERS = 20


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", type=Path, default=Path("data"), help="label.txt, train.txt, dev.txt, data.txt (default: data)")
    add("--save_dir", type=Path, help="(default: <data_dir>/llm)")
    add("--base_url", required=True, help="of the endpoint, such as http://127.0.0.1:8000/v1")
    add("--model", required=True, help="the model's name there")
    add("--api_key_env", default="LLM_API_KEY", help="variable that holds the key (default: LLM_API_KEY)")
    add("--description_file", type=Path, help="<label>, a tab, <what it means> a line, for some or all labels")
    add("--examples_per_label", type=int, default=2, help="of train.txt, in every request (default: 2)")
    add("--lang", choices=WORDS, help="of the instructions (default: zh where the locale or a label is Chinese)")
    add("--texts_per_request", type=int, default=8, help="(default: 8)")
    add("--votes", type=int, default=1, help="answers to each text; more than 1 need --temperature (default: 1)")
    add("--temperature", type=float, default=0.0, help="(default: 0)")
    add("--dev_samples", type=int, default=300, help="of dev.txt that it is measured on; 0: all (default: 300)")
    add("--min_accuracy", type=float, default=0.9, help="that labels must reach to be taken (default: 0.9)")
    add("--max_requests", type=int, help="in this run, tries that fail included (default: no limit)")
    add("--max_tokens", type=int, help="of all runs into --save_dir (default: no limit)")
    add("--max_cost", type=float, help="of all runs, in the unit of the prices (default: no limit)")
    add("--prices", type=float, nargs=2, default=[0, 0], metavar=("IN", "OUT"), help="of a million tokens (0 0)")
    add("--requests_per_minute", type=float, default=0, help="at most; 0: any number (default: 0)")
    add("--concurrency", type=int, default=4, help="requests under way at a time (default: 4)")
    add("--timeout", type=float, default=120, help="seconds that an answer may take (default: 120)")
    add("--retries", type=int, default=6, help="further tries of a request (default: 6)")
    add("--seed", type=int, default=1000, help="of the examples and of the dev sample (default: 1000)")
    flags = parse_argv(parser, argv)
    problems = at_least(flags, texts_per_request=1, votes=1, concurrency=1, retries=0, dev_samples=0)
    problems += at_least(flags, examples_per_label=0)
    if not 0 < flags.min_accuracy < 1:
        problems.append(f"--min_accuracy {flags.min_accuracy}: give a share between 0 and 1")
    if flags.votes > 1 and not flags.temperature > 0:
        problems.append("--votes: all answers are the same at --temperature 0; give one such as 0.7")
    if not flags.timeout > 0:
        problems.append(f"--timeout {flags.timeout:g}: give seconds, more than 0")
    problems += [
        f"--{name} {value:g}: give 0 or more"
        for name in ("requests_per_minute", "temperature")
        if not (value := getattr(flags, name)) >= 0
    ]
    if flags.max_cost is not None and not any(flags.prices):
        problems.append("--max_cost needs --prices, of a million tokens of prompts and of answers")
    if problems:
        raise UsageError("\n".join(problems))
    flags.save_dir = flags.save_dir or flags.data_dir / "llm"
    return flags


def read_descriptions(path, labels):
    """Label -> what it means.

    Raises:
        UsageError: a line without a tab or with an unknown label.
    """
    found = {}
    for number, line in enumerate(read_lines(path), 1) if path else ():
        label, tab, text = (part.strip() for part in line.partition("\t"))
        if not tab or not text or label not in labels:
            raise UsageError(f"{path}:{number}: write <label>, a tab, <what it means>, with a label of label.txt")
        found[label] = text
    return found


class Annotator:
    """Asks about texts, and keeps every answer on the disk as it comes.

    Args:
        endpoint (Endpoint): see there.
        labels (list[str]): in class order.
        system (str): what requests begin with.
        flags: as parsed.
    """

    def __init__(self, endpoint, labels, system, flags):
        self.endpoint, self.labels, self.system, self.flags = endpoint, labels, system, flags
        self.path = flags.save_dir / ANSWERS_FILE
        facts = [system, flags.model, flags.temperature, flags.lang]
        self.facts = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        self.votes, used, self.refused, self.in_a_row = {}, [0, 0], [], 0
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else ():
            try:
                content = json.loads(line)
            except ValueError:
                continue  # cut by a kill
            used = [old + new for old, new in zip(used, content["tokens"])]
            if content["facts"] == self.facts:
                for text, vote, found in content["found"]:
                    self.votes[text, vote] = found
        endpoint.budget.prompt_tokens, endpoint.budget.answer_tokens = used

    def answer_all(self, texts, told):
        """Ask what was not yet asked; False where the budget ends it."""
        for alone in (False, True):  # what a request with others left out is asked once more, by itself
            size = 1 if alone else self.flags.texts_per_request
            missing = [
                (vote, [text for text in dict.fromkeys(texts) if self._is_missing(text, vote, alone)])
                for vote in range(self.flags.votes)
            ]
            requests = [
                (vote, some[start : start + size]) for vote, some in missing for start in range(0, len(some), size)
            ]
            if requests and not self._run(requests, told):
                return False
        return True

    def _is_missing(self, text, vote, alone):
        found = self.votes.get((text, vote), "not asked")
        return found == "not asked" or (alone and found == "left out")

    def _run(self, requests, told):
        pool, end = concurrent.futures.ThreadPoolExecutor(self.flags.concurrency), None
        with self.path.open("a", encoding="utf-8") as file:
            # A line that a kill cut must not swallow the next one.
            file.write("\n" if self.path.stat().st_size else "")
            futures = {pool.submit(self._ask, vote, some): (vote, some) for vote, some in requests}
            try:
                done = concurrent.futures.as_completed(futures)
                for future in progress_bar(done, total=len(futures), desc=told, unit="request"):
                    if future.cancelled():
                        continue
                    try:
                        found, tokens = future.result()
                    except (OutOfBudget, UsageError) as error:
                        if isinstance(error, NoFirstAnswer):  # the next run begins with other texts
                            some = futures[future][1]
                            self._keep(file, *futures[future], ["left out"] * len(some), (0, 0))
                        end = end or error
                        for other in futures:
                            other.cancel()
                        continue
                    self._keep(file, *futures[future], found, tokens)
            finally:
                pool.shutdown(cancel_futures=True)
        if isinstance(end, UsageError):
            raise end
        if end:
            print(f"{end}: the answers so far are kept, and a higher limit goes on from there", flush=True)
        return end is None

    def _ask(self, vote, texts):
        seed = self.flags.seed + vote if self.flags.votes > 1 else None
        try:
            answer, tokens = self.endpoint.ask(messages_for(self.system, texts, self.flags.lang), seed)
        except NoAnswer as error:  # of several texts, each is asked alone then; what is refused alone is for people
            if len(texts) == 1:
                self.refused.append(str(error))
                return [None], error.usage
            self.in_a_row += 1
            if self.in_a_row >= MOST_FAILURES:
                self.endpoint.end = f"{error} ({self.in_a_row} times in a row); the same command goes on"
                raise UsageError(self.endpoint.end) from None
            return [None] * len(texts), error.usage
        self.in_a_row = 0
        return parse_answer(answer, len(texts), self.labels), tokens

    def _keep(self, file, vote, texts, found, tokens):
        missing = "left out" if len(texts) > 1 else None
        rows = [
            [text, vote, one if one == "left out" else list(one) if one else missing]
            for text, one in zip(texts, found)
        ]
        content = {"facts": self.facts, "tokens": tokens, "found": rows}
        file.write(json.dumps(content, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
        for text, vote, one in rows:
            self.votes[text, vote] = one

    def label_of(self, text):
        """Class id and confidence, or None: the label with most confidence over all votes, of each vote its share."""
        sums = {}
        for vote in range(self.flags.votes):
            found = self.votes.get((text, vote))
            if isinstance(found, list):
                sums[found[0]] = sums.get(found[0], 0.0) + found[1] / self.flags.votes
        if not sums:
            return None
        best = max(sums, key=lambda class_id: (sums[class_id], -class_id))
        return best, sums[best]


# ----------------------------------------------------------------------------------------------------------- agreement


def measure(found, truth, labels, min_accuracy):
    """What dev shows.

    Args:
        found (list[tuple[int, float] | None]): of each dev text.
        truth (list[int]): class ids.
        labels (list[str]): in class order.
        min_accuracy (float): that is asked for.

    Returns:
        dict: JSON values; `threshold` is None where no confidence will do.
    """
    answered = [(one[0] == true, one[1]) for one, true in zip(found, truth) if one]
    right = sum(is_right for is_right, _ in answered)
    share = right / len(truth)
    kappa, steps = kappa_of([one[0] if one else None for one in found], truth), []
    for least in sorted({sure for _, sure in answered}):
        above = [is_right for is_right, sure in answered if sure >= least]
        low, high = wilson(sum(above), len(above))
        steps.append(
            {"threshold": least, "answers": len(above), "accuracy": sum(above) / len(above), "low": low, "high": high}
        )
    good = [step for step in steps if step["low"] >= min_accuracy and step["answers"] >= LEAST_ANSWERS]
    return {
        "samples": len(truth),
        "without_answer": len(truth) - len(answered),
        "accuracy": share,
        "interval": list(wilson(right, len(truth))),
        # It cannot be told where all have one label, and the same.
        "kappa": 1.0 if math.isnan(kappa) else kappa,
        "labels": {label: by_label(found, truth, class_id) for class_id, label in enumerate(labels)},
        "steps": steps,
        "threshold": good[0]["threshold"] if good else None,
        "at_threshold": good[0] if good else None,
    }


def by_label(found, truth, class_id):
    """Of one label: how many dev has, how many are found, and how many of what is called so are."""
    own = [one is not None and one[0] == class_id for one, true in zip(found, truth) if true == class_id]
    named = [true == class_id for one, true in zip(found, truth) if one is not None and one[0] == class_id]
    return {"samples": len(own), "found": sum(own), "named": len(named), "right": sum(named)}


def agreement_lines(agreement, min_accuracy):
    """The report in the terminal."""
    low, high = agreement["interval"]
    yield (
        f"On {agreement['samples']:,} samples of dev it gives the label of dev.txt to {agreement['accuracy']:.1%} "
        f"[{low:.1%}, {high:.1%}], kappa {agreement['kappa']:.2f}; {agreement['without_answer']:,} not answered"
    )
    rows = [
        {
            "label": label,
            "in dev": row["samples"],
            "found": row["found"],
            "called so": row["named"],
            "right": row["right"],
        }
        for label, row in agreement["labels"].items()
    ]
    yield from format_table(rows)
    step = agreement["at_threshold"]
    if step is None:
        yield (
            f"At no confidence is it right {min_accuracy:.0%} of the time (lower bound of 95 %): no label is taken. "
            "Try a better --description_file, more --examples_per_label or --dev_samples, another --model, or a lower "
            "--min_accuracy"
        )
    else:
        yield (
            f"From confidence {step['threshold']:.2f} on {step['accuracy']:.1%} of {step['answers']:,} are right "
            f"[{step['low']:.1%}, {step['high']:.1%}]: such labels are taken"
        )


# ---------------------------------------------------------------------------------------------------------------- main


def main(argv=None):
    flags = parse_flags(argv)
    labels = read_labels(flags.data_dir / "label.txt")
    train, dev = (read_examples(flags.data_dir / f"{split}.txt", labels) for split in ("train", "dev"))
    texts = [text for _, text, *_ in read_cases(flags.data_dir / "data.txt")]
    known = set(train[0]) | set(dev[0])
    test = flags.data_dir / "test.txt"
    known |= {line.split("\t")[0].strip() for line in read_lines(test)} if test.is_file() else set()
    texts = [text for text in texts if text not in known]
    is_chinese = locale_language() == "zh" or any("\u4e00" <= letter <= "\u9fff" for name in labels for letter in name)
    flags.lang = flags.lang or ("zh" if is_chinese else "en")
    refuse_corrected(flags.save_dir)
    number, seed = flags.examples_per_label, flags.seed
    examples, kept = choose_examples(flags.save_dir, *train, labels, number, seed)
    system = system_prompt(labels, read_descriptions(flags.description_file, labels), examples, flags.lang)
    rows = random.Random(flags.seed).sample(range(len(dev[0])), min(flags.dev_samples or len(dev[0]), len(dev[0])))
    shown = {text for text, _ in examples}
    rows = [row for row in sorted(rows) if dev[0][row] not in shown]
    if len(rows) < LEAST_ANSWERS:
        raise UsageError(
            f"{flags.data_dir / 'dev.txt'}: {len(rows)} samples; label at least {LEAST_ANSWERS}, or nothing is known"
        )

    budget = Budget(flags.max_requests, flags.max_tokens, flags.max_cost, tuple(flags.prices))
    key = (os.environ.get(flags.api_key_env) or "").strip()
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"{flags.api_key_env}: not a key, which has ASCII characters alone; set it to yours")
    rate = Rate(flags.requests_per_minute)
    endpoint = Endpoint(
        flags.base_url, flags.model, key, budget, rate, flags.temperature, flags.timeout, flags.retries
    )
    with locked_folder(flags.save_dir, "--save_dir"):
        with staged_files(flags.save_dir) as stage:
            write_json(stage / EXAMPLES_FILE, kept)
        annotator = Annotator(endpoint, labels, system, flags)
        if not annotator.answer_all([dev[0][row] for row in rows], "dev"):
            print("The limit ended it before dev was measured: nothing is taken")
            return 1
        found = [annotator.label_of(dev[0][row]) for row in rows]
        agreement = measure(found, [dev[1][row] for row in rows], labels, flags.min_accuracy)
        print("\n".join(agreement_lines(agreement, flags.min_accuracy)), flush=True)
        is_all = True
        if agreement["threshold"] is not None:
            is_all = annotator.answer_all(texts, "data.txt")
        taken, rest = write_results(flags, labels, annotator, texts, agreement)
    if annotator.refused:
        print(f"{len(annotator.refused):,} texts got no answer, such as: {annotator.refused[-1]}; they are for people")
    spent = f", cost {budget.cost:.4g}" if any(flags.prices) else ""
    print(
        f"{budget.requests:,} requests; {budget.prompt_tokens:,} + {budget.answer_tokens:,} tokens in all runs{spent}"
    )
    print(
        f"{taken:,} texts are in {flags.save_dir / 'labelled.txt'}, {rest:,} in {flags.save_dir / 'to_annotate.txt'}"
    )
    if taken:
        path = flags.save_dir / "train.txt"
        command = f"python train.py --do_train --data_dir {flags.data_dir} --train_path {path}"
        print(f"Next, look at some of them, then train on both: {command}")
    return 0 if is_all and taken else 1


if __name__ == "__main__":
    with exit_on_usage_error():
        sys.exit(main())
