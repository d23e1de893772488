"""Load and faults of the servers in deploy/, side by side with others; run by `make bench-serving`.

    python tests/bench/bench_serving.py --export_dir checkpoint/export
    python tests/bench/bench_serving.py --export_dir checkpoint/export --servers ours plain --parts load --requests 50

Parts: clients (requests of one text from 1, 16, 64 and 256 clients, to our server and to the shortest one that can be
written, turn by turn; with "ours, cascade" in --servers also to our server with a student before the model), load (16
clients, one text and 32 texts a request), beside (one-text requests while one of 10,000 texts runs), faults (malformed
requests, seeded), memory (the server's memory over --memory_requests). The tables are Markdown.
Servers run one after the other, each in a fresh process for each part. Clients are threads of this process with raw
keep-alive sockets and requests that are ready as bytes: about 0.03 ms of CPU a request.
A server is an entry of SERVERS: how to start it, and which HTTP request asks it for the classes of texts.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import math
import random
import re
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.cpu import usable_cores
from core.progress import progress_bar
from tests.bench.machine import cpu_name
from tests.deploy.malformed import malformed
from tests.deploy.running import SIMPLE_SERVING, server_process
from utils import read_examples, read_labels

HERE = Path(__file__).resolve().parents[1] / "deploy"
CLIENTS = 16
LARGE = 10_000
PARTS = ("clients", "load", "beside", "faults", "memory")
# Of the part clients: who is compared, how many clients, rounds, and seconds of each cell of a round.
PEER, OURS, CASCADE = "peer, int8", "ours, int8", "ours, cascade"
NUMBERS_OF_CLIENTS, ROUNDS, CELL_SECONDS = (1, 16, 64, 256), 3, 6


@dataclasses.dataclass
class Server:
    """One server of the comparison.

    Args:
        command (list[str]): starts it; {port} is its HTTP port.
        cwd (Path): where.
        path (str): what requests are POSTed to.
        content (Callable[[list[str]], dict]): the request's JSON for some texts.
        environment (dict[str, str]): {export_dir} is replaced.
        checks_requests (bool): whether malformed requests must be refused with 4xx.
    """

    command: list
    cwd: Path
    path: str
    content: Callable
    environment: dict
    checks_requests: bool = False


def documented(texts):
    return {"data": {"text": texts, "text_pair": None}, "parameters": {"max_seq_len": 128, "batch_size": 32}}


def for_triton(texts):
    given = {"name": "INPUT", "shape": [len(texts), 1], "datatype": "BYTES", "data": texts}
    return {"inputs": [given], "outputs": [{"name": "label"}, {"name": "confidence"}]}


def command(app):
    return ["paddlenlp", "server", app, "--host", "127.0.0.1", "--port", "{port}"]


def ours(format):
    environment = {"SERVING_MODELS": "cls_multi_class={export_dir}", "SERVING_FORMAT": format}
    return Server(command("server:app"), SIMPLE_SERVING, "/models/cls_multi_class", documented, environment, True)


def other(command, path, content):
    """A server of tests/deploy."""
    return Server(command, HERE, path, content, {"BENCH_EXPORT_DIR": "{export_dir}"})


def plain(module):
    return f"uvicorn {module}:app --host 127.0.0.1 --port {{port}} --log-level warning".split()


# The batch size that lets it take the large request of `beside` whole, as the others do.
TRITON = [sys.executable, str(HERE / "triton_server.py"), "--port", "{port}", "--max_batch_size", str(LARGE)]

SERVERS = {
    "shipped": other(command("shipped_server:app"), "/models/cls_multi_class", documented),
    "plain": other(plain("plain_server"), "/classify", lambda texts: {"text": texts}),
    PEER: other(plain("peer_server"), "/classify", lambda texts: {"text": texts}),
    "triton": other(TRITON, "/v2/models/seqcls/infer", for_triton),
    "ours": ours("auto"),
    OURS: ours("onnx_int8"),
    CASCADE: ours("cascade:onnx_int8"),
}


# ---------------------------------------------------------------------------------------------------------- client


def as_bytes(path, body, headers=None):
    """A POST request."""
    headers = {"Content-Type": "application/json", **(headers or {}), "Content-Length": len(body)}
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection:
    """A keep-alive connection, opened again where the server has closed it."""

    def __init__(self, port):
        self.port, self.socket = port, None

    def ask(self, request, timeout=600):
        """(status, body) of one request.

        Raises:
            OSError: the connection broke, or nothing came for `timeout` seconds.
        """
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        self.socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        while len(body) < int(length[1]) if length else not body.endswith(b"0\r\n\r\n"):  # else in chunks
            body += self._receive()
        if re.search(rb"connection: close", head, re.IGNORECASE):
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def _receive(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("closed in the middle of an answer")
        return data

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def run_clients(port, requests, clients, seconds, label):
    """Send requests from several connections at once.

    Args:
        requests (list[bytes]): each client takes the next one.
        clients (int): connections, each of which waits for its answer before it sends again.
        seconds (float): no request is begun later.

    Returns:
        tuple: seconds a request in order of their ends, collections.Counter of statuses (0: hung up), seconds overall.
    """
    waiting, latencies, statuses, errors = collections.deque(requests), [], collections.Counter(), []
    bar = progress_bar(total=len(requests), desc=label, unit="request", leave=False, mininterval=1)
    start = time.perf_counter()

    def client():
        connection = Connection(port)
        try:
            while time.perf_counter() - start < seconds:
                request = waiting.popleft()
                begun = time.perf_counter()
                try:
                    status, _ = connection.ask(request)
                except ConnectionError:
                    status = 0
                    connection.close()
                latencies.append(time.perf_counter() - begun)
                statuses[status] += 1
                bar.update()
        except IndexError:
            pass  # all were sent
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bar.close()
    if errors:
        raise errors[0]
    return latencies, statuses, time.perf_counter() - start


def percentile(values, share):
    """In ms."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] * 1000


def memory_of(process):
    """MB that a process and its children hold."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return sum(member.memory_info().rss for member in family) / 1e6


# ----------------------------------------------------------------------------------------------------------- parts


class Bench:
    """One running server and the requests for it."""

    def __init__(self, server, port, process, texts, args):
        self.server, self.port, self.process, self.texts, self.args = server, port, process, texts, args
        self.random = random.Random(args.seed)

    def request(self, number):
        """A request of `number` texts drawn from dev."""
        texts = self.random.choices(self.texts, k=number)
        return as_bytes(self.server.path, json.dumps(self.server.content(texts)).encode())

    def warm_up(self):
        run_clients(self.port, [self.request(1) for _ in range(50)], 4, 60, "warm-up")

    def speed(self, clients):
        """Requests of one text from some clients, in the time of a cell: how many a second, and the p99 in ms."""
        requests = [self.request(1) for _ in range(int(1000 * CELL_SECONDS))]
        latencies, statuses, seconds = run_clients(self.port, requests, clients, CELL_SECONDS, f"{clients} clients")
        if set(statuses) != {200}:
            raise RuntimeError(f"{clients} clients: statuses {dict(statuses)}")
        return len(latencies) / seconds, percentile(latencies, 0.99)

    def load(self):
        for number in (1, 32):
            requests = [self.request(number) for _ in range(CLIENTS * self.args.requests)]
            name = f"{number} text{'s' * (number > 1)}"
            latencies, statuses, seconds = run_clients(self.port, requests, CLIENTS, self.args.seconds, name)
            if set(statuses) != {200}:
                raise RuntimeError(f"{name}: statuses {dict(statuses)}")
            speed = len(latencies) / seconds
            yield {
                "texts a request": number,
                "requests": len(latencies),
                "requests/s": f"{speed:.1f}",
                "texts/s": f"{speed * number:.0f}",
                "p50 ms": f"{percentile(latencies, 0.5):.0f}",
                "p99 ms": f"{percentile(latencies, 0.99):.0f}",
            }

    def beside(self):
        alone = run_clients(self.port, [self.request(1) for _ in range(50)], 1, 60, "alone")[0]
        large, small, latencies, statuses = Connection(self.port), Connection(self.port), [], []

        def ask_large():
            with contextlib.suppress(OSError):  # given up below
                statuses.append(large.ask(request)[0])

        request, start = self.request(LARGE), time.perf_counter()
        thread = threading.Thread(target=ask_large)
        thread.start()
        time.sleep(0.5)
        while thread.is_alive() and time.perf_counter() - start < self.args.seconds:
            begun = time.perf_counter()
            try:
                small.ask(self.request(1), timeout=self.args.seconds)
            except TimeoutError:
                latencies.append(math.inf)
                break
            latencies.append(time.perf_counter() - begun)
            time.sleep(0.1)
        took = time.perf_counter() - start
        if thread.is_alive():
            large.socket.shutdown(socket.SHUT_RDWR)
        thread.join()
        yield {
            "one text alone, median ms": f"{statistics.median(alone) * 1000:.0f}",
            f"one text beside {LARGE:,}: requests": len(latencies),
            "median ms": f"{statistics.median(latencies) * 1000:.0f}",
            "longest ms": f"{max(latencies) * 1000:.0f}",
            f"{LARGE:,} texts, s": f"{took:.1f}" if statuses else f"given up after {took:.0f}",
        }

    def ask_all(self, requests):
        """[(status, body)]; an empty list where nobody answers."""
        connection = Connection(self.port)
        try:
            return [connection.ask(request) for request in requests]
        except ConnectionError:
            return []
        finally:
            connection.close()

    def faults(self):
        questions = [
            as_bytes(self.server.path, json.dumps(self.server.content(self.texts[start : start + 20])).encode())
            for start in range(0, 200, 20)
        ]
        before = self.ask_all(questions)
        requests = []
        for _ in range(self.args.malformed):
            path, headers, body = malformed(self.random)
            requests.append(as_bytes(path.format(path=self.server.path), body, headers))
        _, statuses, _ = run_clients(self.port, requests, CLIENTS, self.args.seconds, "malformed")
        after = self.ask_all(questions)
        failed = sum(count for status, count in statuses.items() if status >= 500)
        if (failed or statuses[0] or not after) and self.server.checks_requests:
            raise RuntimeError(f"5xx or no answer for bad input: {dict(statuses)}")
        yield {
            "malformed requests": sum(statuses.values()),
            "4xx": sum(statuses[s] for s in statuses if 400 <= s < 500),
            "200": statuses[200],
            "5xx": failed,
            "no answer": statuses[0],
            "same answers afterwards": "yes" if before == after else "no" if after else "server is gone",
        }

    def memory(self):
        seen, done = [], 0
        while done < self.args.memory_requests:
            number = min(self.args.memory_requests - done, max(1, self.args.memory_requests // 10))
            requests = [self.request(self.random.choice([1, 1, 1, 1, 1, 1, 1, 1, 1, 8])) for _ in range(number)]
            run_clients(self.port, requests, CLIENTS, 3600, f"memory, {done} done")
            done += number
            seen.append(memory_of(self.process))
        yield {
            "requests": done,
            "MB after a tenth": f"{seen[0]:.0f}",
            "MB at the end": f"{seen[-1]:.0f}",
            "most MB": f"{max(seen):.0f}",
            "growth": f"{seen[-1] / seen[0] - 1:+.1%}",
        }


def compare(args, export_dir, texts):
    """Requests of one text to PEER and to ours, cell by cell in turn, so that what else the machine does meets all.

    Yields:
        dict: a row a number of clients: the median of the rounds of each, and of ours' ratios to PEER.
    """
    names = [PEER, *(name for name in (OURS, CASCADE) if name in args.servers)]
    with contextlib.ExitStack() as stack:
        benches = []
        for name in names:
            port, process = stack.enter_context(running(SERVERS[name], export_dir))
            benches.append(Bench(SERVERS[name], port, process, texts, args))
            benches[-1].warm_up()
        for clients in NUMBERS_OF_CLIENTS:
            rounds = [[one.speed(clients) for one in benches] for _ in range(ROUNDS)]
            row = {"clients": clients}
            for place, name in enumerate(names):
                speeds, slowest = zip(*(cells[place] for cells in rounds))
                row[f"{name}: requests/s"] = f"{statistics.median(speeds):.1f}"
                row[f"{name}: p99 ms"] = f"{statistics.median(slowest):.0f}"
            for place, name in enumerate(names[1:], start=1):
                ratios = sorted(cells[place][0] / cells[0][0] for cells in rounds)
                spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
                row[f"{name}: ratio (lowest to highest)"] = spread
            yield row


@contextlib.contextmanager
def running(server, export_dir):
    """A fresh process of a server: yields its port and the process."""
    environment = {key: value.format(export_dir=export_dir) for key, value in server.environment.items()}
    with contextlib.ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "log"
        yield stack.enter_context(server_process(server.command, server.cwd, environment, log))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export_dir", default="checkpoint/export", help="with --export_type onnx onnx_int8")
    parser.add_argument("--data_dir", default="data", help="its dev.txt gives the texts")
    others = [name for name in SERVERS if name != CASCADE]
    parser.add_argument("--servers", nargs="+", default=others, choices=list(SERVERS))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--requests", type=int, default=200, help="of each of the 16 clients")
    parser.add_argument("--seconds", type=float, default=60, help="after which a part of load begins no request")
    parser.add_argument("--malformed", type=int, default=10_000)
    parser.add_argument("--memory_requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers are ended too
    export_dir = Path(args.export_dir).resolve()
    labels = read_labels(Path(args.data_dir) / "label.txt")
    texts, _ = read_examples(Path(args.data_dir) / "dev.txt", labels)
    rows = collections.defaultdict(list)
    if "clients" in args.parts:
        for row in compare(args, export_dir, texts):
            rows["clients"].append(row)
            print(row, file=sys.stderr, flush=True)
    for part in [part for part in args.parts if part != "clients"]:
        # Others' memory over 100,000 requests is not our subject, and takes them very long.
        for name in [name for name in args.servers if part != "memory" or SERVERS[name].checks_requests]:
            with running(SERVERS[name], export_dir) as (port, process):
                bench = Bench(SERVERS[name], port, process, texts, args)
                bench.warm_up()
                for row in getattr(bench, part)():
                    rows[part].append({"server": name, **row})
                    print(rows[part][-1], file=sys.stderr, flush=True)
    print(f"{cpu_name()}, {usable_cores()} cores; {export_dir.name} of {args.export_dir}")
    for part in args.parts:
        if rows[part]:
            columns = list(rows[part][0])
            print("\n" + "\n".join(f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns))))
            for row in rows[part]:
                print(f"| {' | '.join(str(row[column]) for column in columns)} |")


if __name__ == "__main__":
    main()
