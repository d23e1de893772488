"""Speed and memory of deploy/batch/predict.py on many rows beside the model alone, and kill -9 at random moments.

    python tests/bench/bench_batch.py --export_dir checkpoint/export              # or: make bench-batch
    python tests/bench/bench_batch.py --export_dir checkpoint/export --rows 20000 --kills 3

The rows are the texts of the data, varied until there are --rows different ones: CSV in, CSV out. The model alone is
its graph on batches that are tokenised, sorted and padded already, in one process a core, all at
once; what predict.py takes to start is in its time. Memory is the sum of what its processes have for themselves and
their shares of what they have together (PSS), looked at four times a second.
"""

import argparse
import csv
import hashlib
import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root
from core.cpu import usable_cores
from core.predictor import Predictor
from tests.bench.distinct_texts import varied

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "batch" / "predict.py"
# Texts of which the model alone is measured.
BARE_TEXTS = 8192


def write_rows(path, data_dir, count):
    """A CSV of id and text."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(varied(data_dir, count)))


def bare(folder, format, threads, texts, barrier, queue):
    """Texts a second of one process that runs the graph and does nothing else."""
    predictor = Predictor(folder, format, threads)
    features = sorted(predictor.encode(texts), key=lambda feature: len(feature["input_ids"]))
    step = predictor.batch_size
    batches = [predictor._collate(features[start : start + step]) for start in range(0, len(features), step)]
    for batch in batches[:4]:
        predictor.run_batch(batch)
    barrier.wait()
    start = time.perf_counter()
    for batch in batches:
        predictor.run_batch(batch)
    queue.put(len(texts) / (time.perf_counter() - start))


def bare_speed(folder, format, workers, threads, texts):
    """Texts a second of so many processes at once."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(workers), context.Queue()
    arguments = (str(folder), format, threads, texts, barrier, queue)
    processes = [context.Process(target=bare, args=arguments) for _ in range(workers)]
    for process in processes:
        process.start()
    speed = sum(queue.get() for _ in processes)
    for process in processes:
        process.join()
    return speed


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
    """Seconds, and megabytes at most."""
    begun, peak, process = time.perf_counter(), 0.0, start(command, output)
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.25)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: failed")
    return time.perf_counter() - begun, peak


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
    parser.add_argument("--kills", type=int, default=20, help="runs that are killed, on --kill_rows rows")
    parser.add_argument("--kill_rows", type=int, default=20_000)
    args = parser.parse_args()
    rng, cores = random.Random(0), usable_cores()
    with tempfile.TemporaryDirectory() as work:
        source, small = Path(work, "in.csv"), Path(work, "small.csv")
        write_rows(source, args.data_dir, args.rows)
        write_rows(small, args.data_dir, args.kill_rows)
        texts = list(varied(args.data_dir, min(args.rows, BARE_TEXTS)))
        print(f"{args.rows:,} rows, {cores} cores, load {os.getloadavg()[0]:.1f}")
        print(f"| format | processes x threads | texts/s | model alone | share | MB |\n|{' --- |' * 6}", flush=True)
        for format, workers in itertools.product(args.formats, args.workers):
            threads, output = max(1, cores // workers), Path(work, "out.csv")
            command = [sys.executable, str(SCRIPT), "--model_dir", args.export_dir, "--format", format]
            command += ["--workers", str(workers), "--threads", str(threads), "--overwrite", "--input"]
            alone = bare_speed(args.export_dir, format, cores, 1, texts)
            seconds, peak = timed([*command, str(source)], output)
            again = bare_speed(args.export_dir, format, cores, 1, texts)
            alone, speed = (alone + again) / 2, args.rows / seconds
            cells = (
                f"{format} | {workers} x {threads} | {speed:,.1f} | {alone:,.1f} | {speed / alone:.1%} | {peak:.0f}"
            )
            print(f"| {cells} |", flush=True)
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
        seconds, _ = timed(command, whole)
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
