"""The vectors of bench_index.py: those of real texts, and more that are like them."""

import sys

import numpy as np

from utils import read_cases, staged_files

QUERIES, TOP_K, CHUNK = 200, 10, 10_000


def encode_texts(args):
    """Unit vectors of the real texts and of the queries, computed once: float32 [texts, dim], [queries, dim]."""
    path = args.work_dir / "texts.npz"
    if not path.is_file():
        texts = {"rows": read_all(args, "train.txt", "data.txt"), "queries": read_all(args, "dev.txt")}
        chosen = np.random.RandomState(0).permutation(len(texts["queries"]))[:QUERIES]
        texts["queries"] = [texts["queries"][row] for row in chosen]
        from retrieval_based.base_model import Embedder  # needs paddle, which takes seconds

        embedder = Embedder(args.model_name_or_path, pooling="mean", output_emb_size=0, max_seq_length=64)
        with staged_files(args.work_dir) as stage:
            np.savez(stage / path.name, **{what: embedder.vectors(lines) for what, lines in texts.items()})
    content = np.load(path)
    return unit(content["rows"]), unit(content["queries"])


def read_all(args, *names):
    """The texts of some files of --data_dir, each once."""
    return list(dict.fromkeys(text for name in names for _, text, *_ in read_cases(args.data_dir / name)))


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def nearest_cosine(vectors):
    """The mean cosine of a vector and its nearest other one, of 1,000 drawn."""
    rows = np.random.RandomState(1).permutation(len(vectors))[:1000]
    cosines = vectors[rows] @ vectors.T
    cosines[np.arange(len(rows)), rows] = -1
    return float(cosines.max(axis=1).mean())


def more_vectors(vectors, count, random, cosine):
    """Vectors of texts that might be: float32 [count, dim] (see the top of this file)."""
    origin, one, other = random.randint(len(vectors), size=(3, count))
    noise = vectors[one] - vectors[other]
    noise -= (noise * vectors[origin]).sum(axis=1, keepdims=True) * vectors[origin]
    length = np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-6)
    spread = np.sqrt(1 / cosine**2 - 1) * random.uniform(0.5, 1.5, (count, 1))
    return unit(vectors[origin] + spread * noise / length)


def write_vectors(args, size):
    """The file of `size` vectors and the rows of their true nearest to the queries, made once.

    Returns:
        tuple[Path, np.ndarray]: a .npy file; int [queries, TOP_K].
    """
    path, truth = args.work_dir / f"vectors-{size}.npy", args.work_dir / f"nearest-{size}.npy"
    if not (path.is_file() and truth.is_file()):
        real, queries = encode_texts(args)
        random, cosine = np.random.RandomState(2), nearest_cosine(real)
        print(f"{size} vectors: a text and its nearest other have the cosine {cosine:.3f}", file=sys.stderr)
        best, rows = np.zeros((len(queries), 0), "float32"), np.zeros((len(queries), 0), int)
        with staged_files(args.work_dir) as stage:
            file = np.lib.format.open_memmap(stage / path.name, "w+", "float32", (size, real.shape[1]))
            for start in range(0, size, CHUNK):
                count = min(CHUNK, size - start)
                chunk = real[start : start + count]
                if len(chunk) < count:
                    chunk = np.concatenate([chunk, more_vectors(real, count - len(chunk), random, cosine)])
                file[start : start + count] = chunk
                cosines = queries @ chunk.T
                best = np.concatenate([best, cosines], axis=1)
                rows = np.concatenate([rows, np.broadcast_to(np.arange(start, start + count), cosines.shape)], axis=1)
                order = np.argsort(-best, axis=1, kind="stable")[:, :TOP_K]
                best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
            file.flush()
            np.save(stage / truth.name, rows)
    return path, np.load(truth)
