"""The files of the retrieval scripts, and what a training draws from them. Nothing here imports paddle."""

import collections

import numpy as np

from utils import UsageError, read_label_words, read_lines, refuse_table, write_lines

# What is searched: texts, the label of each, whether the texts are the labels' names, and each label's name.
Corpus = collections.namedtuple("Corpus", "texts labels is_names names")


def read_corpus(path):
    """Read what is searched: label names, one a line as in label.txt, or texts with their labels as in train.txt.

    Returns:
        Corpus: of label names, `label==word` gives the word as the text; of texts, every label is its own name.

    Raises:
        UsageError: a wrong line, or a file that is neither the one nor the other.
    """
    refuse_table(path)
    if "\t" not in read_lines(path)[0]:
        names = read_label_words(path)
        label_of = {}
        for number, (label, name) in enumerate(names.items(), 1):
            other = label_of.setdefault(name, label)
            if other != label:
                problem = f"{label!r} has the word of {other!r}, so no search can tell them apart"
                raise UsageError(f"{path}:{number}: {problem}; give it another one")
        return Corpus(list(names.values()), list(names), True, names)
    texts, labels = [], []
    for text, label in read_two_columns(path, "<text>, a tab, <label> in every line, or label names alone"):
        texts.append(text)
        labels.append(label)
    return Corpus(texts, labels, False, {label: label for label in dict.fromkeys(labels)})


def read_pairs(path):
    """Read `<text><Tab><text>` lines: list[tuple[str, str]].

    Raises:
        UsageError: a line without a tab, with two, or with nothing on one side.
    """
    return read_two_columns(path, "<text>, a tab, <text>")


def read_two_columns(path, format):
    """Read lines of two columns: list[tuple[str, str]]; `format` says in a message what is to be written."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2:
            raise UsageError(f"{path}:{number}: {len(columns) - 1} tabs instead of one; write {format}")
        if not all(columns):
            raise UsageError(f"{path}:{number}: nothing on one side of the tab; write {format}")
        rows.append(tuple(columns))
    return rows


def write_similarities(pairs, similarities, path):
    """Print pairs of texts with their similarities, or write them to a file.

    Args:
        pairs (list[tuple[str, str]]): texts.
        similarities: cosines [pairs].
        path (Path | None): the file; None prints them.
    """
    lines = [f"{one}\t{other}\t{value:.6f}" for (one, other), value in zip(pairs, similarities)]
    if path is None:
        print("\n".join(lines))
        return
    write_lines(path.parent, {path.name: lines}, "--output_file")
    print(f"{len(lines)} similarities are in {path}")


# -------------------------------------------------------------------------------------------------- recall results

RECALL_COLUMNS = ("query", "label", "rank", "corpus text", "corpus label", "similarity")
Recalled = collections.namedtuple("Recalled", "queries truth labels scores")


def recall_lines(queries, truth, hits):
    """The lines of a recall result: a header, then one line a hit, its rank counting from 1 anew for each query.

    Args:
        queries, truth (list[str]): texts and their labels.
        hits (list[list]): of each query, best first; with text, label and score.
    """
    lines = ["\t".join(RECALL_COLUMNS)]
    for query, label, found in zip(queries, truth, hits):
        for rank, hit in enumerate(found, 1):
            lines.append(f"{query}\t{label}\t{rank}\t{hit.text}\t{hit.label}\t{hit.score:.6f}")
    return lines


def read_recalled(path):
    """Read what recall_lines wrote.

    Returns:
        Recalled: queries and truth (list[str], an entry a query, the same text twice being two queries); labels
            (list[list[str]]) and scores (list[list[float]]) of their hits, best first.

    Raises:
        UsageError: another file, or a line that does not fit the one before.
    """
    lines = read_lines(path)
    if tuple(lines[0].split("\t")) != RECALL_COLUMNS:
        raise UsageError(f"{path}:1: not the header of a recall result; give the file that recall.py wrote")
    result = Recalled([], [], [], [])
    for number, line in enumerate(lines[1:], 2):
        columns = line.split("\t")
        try:
            query, label, rank, _, found, score = columns
            rank, score = int(rank), float(score)
        except ValueError:
            what = f"{len(columns)} columns" if len(columns) != 6 else "rank and similarity are not numbers"
            raise UsageError(f"{path}:{number}: {what}; each line is: {', '.join(RECALL_COLUMNS)}") from None
        if rank == 1:
            for values, value in zip(result, (query, label, [], [])):
                values.append(value)
        last = len(result.queries) and (result.queries[-1], result.truth[-1], len(result.labels[-1]) + 1)
        if last != (query, label, rank):
            raise UsageError(f"{path}:{number}: rank {rank} of this query without the ranks before it; recall again")
        result.labels[-1].append(found)
        result.scores[-1].append(score)
    if not result.queries:
        raise UsageError(f"{path}: no hit below the header; recall again")
    return result


def hit_arrays(labels, scores, names):
    """The hits of many queries as arrays.

    Args:
        labels (list[list[str]]), scores (list[list[float]]): of each query, best first.
        names (list[str]): all labels; their order gives the ids.

    Returns:
        tuple[np.ndarray, np.ndarray]: scores float64 and label ids int64, [queries, most hits]; -1 for no hit.
    """
    ids = {label: index for index, label in enumerate(names)}
    shape = (len(labels), max(map(len, labels), default=0))
    all_scores, label_ids = np.full(shape, -1.0), np.full(shape, -1)
    for row, (found, values) in enumerate(zip(labels, scores)):
        label_ids[row, : len(found)] = [ids[label] for label in found]
        all_scores[row, : len(values)] = values
    return all_scores, label_ids


# ---------------------------------------------------------------------------------------------------- for training


def draw_partners(label_ids, seed, epoch):
    """For each text another one of its label, drawn anew each epoch; every text is another one's partner once.

    Args:
        label_ids (np.ndarray): int [n].
        seed, epoch (int): fix the draw.

    Returns:
        np.ndarray: int64 [n], rows; the only text of a label has itself, which dropout makes another vector.
    """
    random = np.random.default_rng([seed, epoch, 1])
    partners = np.empty(len(label_ids), "int64")
    for label in np.unique(label_ids):
        rows = random.permutation(np.flatnonzero(label_ids == label))
        partners[rows] = np.roll(rows, 1)
    return partners
