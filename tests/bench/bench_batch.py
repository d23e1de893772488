"""Speed and memory of deploy/batch/predict.py on many rows beside the model alone, and kill -9 at random moments.

    python tests/bench/bench_batch.py --export_dir checkpoint/export              # or: make bench-batch
    python tests/bench/bench_batch.py --export_dir checkpoint/export --rows 20000 --kills 3
    python tests/bench/bench_batch.py --export_dir checkpoint/distill_ngram --formats ngram --kill_rows 100000

The rows are the texts of the data, varied until there are --rows different ones: CSV in, CSV out. The model alone is
its graph on batches that are tokenised, sorted and padded already, in one process a core, all at once; a student or a
cascade alone is what Predictor gives of texts in memory, in slices as predict.py makes them. Threads are of no use to
the student of n-grams: of it there are as many processes as predict.py has. What predict.py takes to start is in its
time. Its share is told by the clock, and by seconds of the processor, which other programs change less. Memory is the
sum of what its processes have for themselves and their shares of what they have together (PSS), looked at four times a
second.
"""

import argparse
import csv
import hashlib
import itertools
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root
from core.batch_answers import NGRAM_TEXTS, SLICE_TEXTS
from core.checkpoints import NGRAM, STUDENT_FORMATS
from core.cpu import usable_cores
from core.predictor import Predictor
from tests.bench.distinct_texts import varied

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "batch" / "predict.py"


def write_rows(path, data_dir, count):
    """A CSV of id and text."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(varied(data_dir, count)))


def some_texts(path, count):
    """So many texts of a file of write_rows, from all over it: they are varied more and more."""
    with path.open(encoding="utf-8", newline="") as file:
        texts = [row[1] for row in csv.reader(file)][1:]
    return texts[:: max(1, len(texts) // count)][:count]


def bare(folder, format, threads, texts, barrier, queue):
    """Texts a second, and seconds of the processor for each, of one process that runs the model and nothing else."""
    predictor = Predictor(folder, format, threads)
    if format in STUDENT_FORMATS:
        run, step = predictor.probabilities, NGRAM_TEXTS if format == NGRAM else SLICE_TEXTS
        texts = texts if format == NGRAM else sorted(texts, key=len)
        batches = [texts[start : start + step] for start in range(0, len(texts), step)]
    else:
        run, features = predictor.run_batch, sorted(predictor.encode(texts), key=lambda one: len(one["input_ids"]))
        step = predictor.batch_size
        batches = [predictor._collate(features[start : start + step]) for start in range(0, len(features), step)]
    for batch in batches[:4]:
        run(batch)
    barrier.wait()
    start, used = time.perf_counter(), time.process_time()
    for batch in batches:
        run(batch)
    queue.put((len(texts) / (time.perf_counter() - start), (time.process_time() - used) / len(texts)))


def bare_speed(folder, format, workers, threads, texts):
    """Texts a second of so many processes at once, and seconds of the processor for each text."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(workers), context.Queue()
    arguments = (str(folder), format, threads, texts, barrier, queue)
    processes = [context.Process(target=bare, args=arguments) for _ in range(workers)]
    for process in processes:
        process.start()
    found = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(speed for speed, _ in found), sum(used for _, used in found) / workers


def memory(pid):
    """Megabytes of a process and all below it."""
    total, pids = 0, [pid]
    while pids:
        pid = pids.pop()
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


def start(command, output):
    return subprocess.Popen([*command, "--output", str(output)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def timed(command, output):
    """Seconds, seconds of the processor, and megabytes at most."""
    before, begun, peak, process = processor_seconds(), time.perf_counter(), 0.0, start(command, output)
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.25)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: failed")
    return time.perf_counter() - begun, processor_seconds() - before, peak


def processor_seconds():
    """Of all processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def killed(command, output, seconds, rng):
    """How often a run was killed at a random moment before it ended."""
    kills = 0
    while True:
        process = start(command, output)
        try:
            process.wait(rng.uniform(0, 1.2 * seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            seconds *= 1.3  # where the machine has become slower, it would else be killed before it has begun
            continue
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: failed after {kills} kills")
        return kills


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default="../shared/kuake_qic")
    parser.add_argument("--export_dir", default="checkpoint/export", help="with ONNX formats")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", nargs="+", default=["onnx_int8", "onnx"])
    parser.add_argument("--workers", nargs="+", type=int, default=[usable_cores(), 1], help="numbers of processes")
    parser.add_argument("--bare_texts", type=int, default=8192, help="of which the model alone is measured")
    parser.add_argument("--kills", type=int, default=20, help="runs that are killed, on --kill_rows rows")
    parser.add_argument("--kill_rows", type=int, default=20_000)
    args = parser.parse_args()
    rng, cores = random.Random(0), usable_cores()
    with tempfile.TemporaryDirectory() as work:
        source, small = Path(work, "in.csv"), Path(work, "small.csv")
        write_rows(source, args.data_dir, args.rows)
        write_rows(small, args.data_dir, args.kill_rows)
        texts = some_texts(source, args.bare_texts)
        print(f"{args.rows:,} rows, {cores} cores, load {os.getloadavg()[0]:.1f}")
        names = "format | processes x threads | texts/s | model alone | share | share of processor time | MB"
        print(f"| {names} |\n|{' --- |' * 7}", flush=True)
        for format, workers in itertools.product(args.formats, args.workers):
            threads, output = max(1, cores // workers), Path(work, "out.csv")
            command = [sys.executable, str(SCRIPT), "--model_dir", args.export_dir, "--format", format]
            command += ["--workers", str(workers), "--threads", str(threads), "--overwrite", "--input"]
            side_by_side = args.export_dir, format, workers if format == NGRAM else cores, 1, texts
            before = bare_speed(*side_by_side)
            seconds, used, peak = timed([*command, str(source)], output)
            alone, least = ((one + other) / 2 for one, other in zip(before, bare_speed(*side_by_side)))
            speed = args.rows / seconds
            cells = f"{format} | {workers} x {threads} | {speed:,.1f} | {alone:,.1f} | {speed / alone:.1%}"
            print(f"| {cells} | {least * args.rows / used:.1%} | {peak:.0f} |", flush=True)
        if not args.kills:
            return
        command = [
            *command[:4],
            "--format",
            args.formats[0],
            "--part_rows",
            "1000",
            "--overwrite",
            "--input",
            str(small),
        ]
        whole = Path(work, "whole.csv")
        seconds, *_ = timed(command, whole)
        same = count = 0
        for number in range(args.kills):
            output = Path(work, f"killed_{number}.csv")
            kills = 0
            while not kills:
                output.unlink(missing_ok=True)
                kills = killed(command, output, seconds, rng)
            count += kills
            same += digest(output) == digest(whole)
        print(f"{same} of {args.kills} runs of {args.kill_rows:,} rows ended the same after {count} kill -9")


if __name__ == "__main__":
    main()
