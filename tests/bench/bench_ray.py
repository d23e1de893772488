"""Speed of deploy/batch/predict_ray.py on one node and on two of one CPU each, on this machine, beside predict.py.

    python tests/bench/bench_ray.py --export_dir checkpoint/export                # or: make bench-ray
    python tests/bench/bench_ray.py --export_dir checkpoint/distill_ngram --format ngram --rows 200000

The rows are those of bench_batch.py: CSV in, CSV out, in .venv-ray for both. predict.py has as many processes as there
are nodes. `under way` leaves out what comes before the first part is written: that is what counts on large files.
Seconds of the processor are those of all processes of Ray from the start of the script to its end, looked at four
times a second; other programs on the machine change them less than the clock. It refuses to run beside another Ray,
for it stops Ray at the end.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root
from tests.bench.bench_batch import write_rows
from utils import UsageError, exit_on_usage_error

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "batch"
BIN = ROOT / ".venv-ray" / "bin"
PORT = 46391
ENVIRONMENT = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
# Where other programs have the cores: Ray waits for its own start, and its workers are no less urgent than predict.py.
ENVIRONMENT.update(RAY_raylet_start_wait_time_s="300", RAY_worker_niceness="0")
# What is in the command of a process of Ray, an actor too.
RAY = b"ray::", b"/site-packages/ray/", b"predict_ray.py"


def ray(*words):
    command = [str(BIN / "ray"), *words]
    run = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)}: failed\n{run.stdout}")


def start_nodes(count):
    """So many nodes of one CPU each; the address of the first."""
    more = ["--num-cpus", "1", "--object-store-memory", "200000000"]
    ray("start", "--head", "--port", str(PORT), "--include-dashboard", "false", *more)
    for _ in range(count - 1):
        ray("start", "--address", f"127.0.0.1:{PORT}", *more)
    return f"127.0.0.1:{PORT}"


def used(words=RAY):
    """Seconds of the processor of each process whose command has one of these words: dict by process id."""
    found, tick = {}, os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            if any(word in command for word in words):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                found[int(path.name)] = (int(fields[11]) + int(fields[12])) / tick
        except OSError:  # it has ended
            continue
    return found


def timed(command, words):
    """Seconds, and seconds of the processor of it and of what it has done elsewhere."""
    before = used(words)
    latest, begun = dict(before), time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=sys.stderr)
    while process.poll() is None:
        latest.update(used(words))
        time.sleep(0.25)
    if process.returncode:
        raise SystemExit(f"{command}: failed")
    return time.perf_counter() - begun, sum(seconds - before.get(pid, 0) for pid, seconds in latest.items())


def under_way(output, rows):
    """Rows a second from the end of the first part to that of the last one, by the times of the files."""
    times = sorted(path.stat().st_mtime for path in output.glob("*.csv"))
    return (len(times) - 1) / len(times) * rows / (times[-1] - times[0]) if len(times) > 1 else float("nan")


def count_rows(output):
    total = 0
    for path in output.glob("*.csv") if output.is_dir() else [output]:
        with path.open(encoding="utf-8", newline="") as file:
            total += sum(1 for _ in csv.reader(file)) - 1
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default="../shared/kuake_qic")
    parser.add_argument("--export_dir", default="checkpoint/export")
    parser.add_argument("--format", default="onnx_int8", choices=("onnx", "onnx_int8", "ngram"))
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--part_rows", type=int, help="(default: a twentieth of the rows)")
    parser.add_argument("--nodes", nargs="+", type=int, default=[1, 2])
    args = parser.parse_args()
    if not (BIN / "ray").is_file():
        raise UsageError(f"{BIN}: no Ray is there; run: make .venv-ray/.installed")
    if used((b"raylet/raylet",)):
        raise UsageError("a Ray runs on this machine already; stop it first")
    part_rows = args.part_rows or -(-args.rows // 20)
    model = ["--model_dir", args.export_dir, "--format", args.format, "--input"]
    with tempfile.TemporaryDirectory() as work:
        source = Path(work, "in.csv")
        write_rows(source, args.data_dir, args.rows)
        print(f"{args.format}, {args.rows:,} rows, {part_rows:,} a part")
        names = "program | nodes or processes | texts/s | under way | processor ms a text | load"
        print(f"| {names} |\n|{' --- |' * 6}", flush=True)
        for nodes in args.nodes:
            for script in ("predict_ray.py", "predict.py"):
                ending = "" if script == "predict_ray.py" else ".csv"
                output, load = Path(work, f"{script[:-3]}-{nodes}{ending}"), os.getloadavg()[0]
                command = [BIN / "python", FOLDER / script, *model, source, "--output", output]
                if script == "predict_ray.py":
                    try:
                        more = ["--address", start_nodes(nodes), "--part_rows", part_rows]
                        seconds, processor = timed([*command, *more], RAY)
                    finally:
                        ray("stop", "--force")
                    rate = f"{under_way(output, args.rows):,.0f}"
                else:
                    more = ["--workers", nodes, "--threads", 1]
                    seconds, processor = timed([*command, *more], (str(output).encode(), b"multiprocessing"))
                    rate = "–"
                if count_rows(output) != args.rows:
                    raise SystemExit(f"{output}: {count_rows(output):,} rows instead of {args.rows:,}")
                cells = f"{args.rows / seconds:,.0f} | {rate} | {1000 * processor / args.rows:.3f} | {load:.1f}"
                print(f"| {script} | {nodes} | {cells} |", flush=True)


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
