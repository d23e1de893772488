"""Samples to train, dev and test, or to k folds: what split.py and doccano.py share.

Every label is split in the same proportions, and texts that are the same or nearly the same stay together.
"""

import numpy as np

from core.progress import progress_bar
from data.near_duplicates import SHORT_WORK, group, group_equal, normalise
from data.stored_texts import StoredTexts
from utils import UsageError, format_table, shortened, staged_files

PARTS = ("train", "dev", "test")
PART_FILES = ("train.txt", "dev.txt", "test.txt", "label.txt")
FOLD_FILES = ("train.txt", "dev.txt", "label.txt")
# Samples up to which groups of equal texts are numbered in the order of the texts, and not of their appearance.
ORDERED_BY_TEXT = 200_000
# Labels with a line of their own in what is printed.
MAX_LABELS_SHOWN = 50


def similar_groups(texts, threshold=0.8):
    """Number the groups of texts that must stay together.

    Args:
        texts (list[str] | StoredTexts): the samples.
        threshold (float): similarity from which texts are near-duplicates; 0 keeps only equal texts together.

    Returns:
        np.ndarray: int64 [n], the group of each text.
    """
    if threshold:
        return group(texts, threshold)
    if len(texts) > ORDERED_BY_TEXT:
        return group_equal(texts)
    blocks = texts.blocks() if isinstance(texts, StoredTexts) else [texts]
    forms = [form for some in blocks for form in normalise(some)]
    places = {form: place for place, form in enumerate(sorted(set(forms)))}
    return np.array([places[form] for form in forms], dtype=np.int64)


def assign(groups, ids, shares, seed, shuffle=True):
    """Distribute samples over parts: each label in the same proportions, near-duplicates together.

    Groups of near-duplicates are placed first, each into a part drawn with a probability in proportion to the room
    that the part has for the group's labels. Single texts then fill every label's quota exactly, but for rounding.
    A label with as many samples as there are parts has at least one in each, groups permitting.

    Args:
        groups (np.ndarray): int64 [n], see similar_groups.
        ids (list[int]): class ids of the samples.
        shares (list[float]): of each part, in sum 1.
        seed (int): of the order and of the draws.
        shuffle (bool): False fills the parts in the order of the samples.

    Returns:
        tuple[np.ndarray, np.ndarray]: int32 [n], the part of each sample; and the order in which to write them.
    """
    random = np.random.RandomState(seed)
    ids, shares = np.asarray(ids), np.asarray(shares, dtype=float)
    order = random.permutation(len(ids)) if shuffle else np.arange(len(ids))
    room = np.bincount(ids)[:, None] * shares
    parts = np.full(len(ids), -1, dtype=np.int32)

    for rows in _members(groups, order):
        counts = np.bincount(ids[rows], minlength=len(room))
        fits = (counts @ np.maximum(room, 0)) * (room.sum(axis=0) >= len(rows))
        if not fits.any():
            fits = np.where(np.arange(len(shares)) == room.sum(axis=0).argmax(), 1.0, 0.0)
        parts[rows] = random.choice(len(shares), p=fits / fits.sum())
        room[:, parts[rows[0]]] -= counts

    single = order[parts[order] < 0]
    taken = np.bincount(parts[parts >= 0], minlength=len(shares))
    for rows in _runs(single, ids[single]):
        counts = quotas(len(rows), np.maximum(room[ids[rows[0]]], 0), shares > 0, len(ids) * shares - taken)
        parts[rows] = np.repeat(np.arange(len(shares)), counts)
        taken = taken + counts
    return parts, order


def _runs(rows, keys):
    """Rows with the same key, in their order; those of the lowest key first: yields arrays."""
    by_key = np.argsort(keys, kind="stable")
    keys, rows = keys[by_key], rows[by_key]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(keys)]):
        yield rows[begin:end]


def _members(groups, order):
    """The samples of each group of several, largest group first: yields arrays, each in the order of `order`."""
    sizes = np.bincount(groups) if len(groups) else np.zeros(0, dtype=np.int64)
    rows = order[sizes[groups[order]] > 1]
    rows = rows[np.argsort(groups[rows], kind="stable")]
    ends = np.cumsum(sizes[sizes > 1])
    largest = np.argsort(-sizes[sizes > 1], kind="stable")
    for end, size in zip(ends[largest].tolist(), sizes[sizes > 1][largest].tolist()):
        yield rows[end - size : end]


def quotas(total, room, wanted, missing):
    """Whole numbers in proportion to `room` that add up to `total`, by largest remainders.

    Args:
        total (int): samples to distribute.
        room (np.ndarray): float [parts], at least 0.
        wanted (np.ndarray): bool [parts], parts that should get at least one where there is one to spare.
        missing (np.ndarray): float [parts], what each part still lacks over all labels: it settles ties.

    Returns:
        np.ndarray: int64 [parts].
    """
    exact = total * (room / room.sum() if room.any() else wanted / wanted.sum())
    result = np.floor(exact).astype(np.int64)
    rest = np.lexsort((-missing, (result - exact).round(6)))[: total - result.sum()]
    result[rest] += 1
    for part in np.flatnonzero(wanted & (result == 0)):
        if room[part] > 0 and result.max() > 1:
            result[result.argmax()] -= 1
            result[part] += 1
    return result


def check_splits(splits):
    """Complete and check --splits: shares of train, dev and, where given, test.

    Returns:
        list[float]: three shares.

    Raises:
        UsageError: not two or three shares that add up to 1, or nothing for train.
    """
    given = " ".join(f"{share:g}" for share in splits)
    if len(splits) not in (2, 3) or any(not 0 <= share <= 1 for share in splits) or abs(sum(splits) - 1) > 1e-6:
        raise UsageError(f"--splits {given}: give the shares of train, dev and test, in sum 1, such as 0.8 0.1 0.1")
    if splits[0] == 0:
        raise UsageError(f"--splits {given}: train gets nothing; the first share is that of train")
    return [*splits, 0.0][:3]


def write_parts(save_dir, texts, ids, labels, shares, seed, threshold, shuffle=True, more=()):
    """Split samples and write label.txt, train.txt, dev.txt and, unless it would be empty, test.txt.

    Args:
        save_dir (Path): the folder; its files of these names are replaced.
        texts (list[str] | StoredTexts): samples.
        ids, labels: their class ids, and the names of the classes.
        shares (list[float]): of train, dev and test.
        seed, threshold, shuffle: see `assign`.
        more (dict[str, list[str]]): further files to write, with their lines.

    Raises:
        UsageError: nothing is left for train or dev; the folder cannot be written to.
    """
    groups = similar_groups(texts, threshold)
    parts, order = assign(groups, ids, shares, seed, shuffle)
    for number, name in enumerate(PARTS[:2]):
        if shares[number] and not (parts == number).any():
            raise UsageError(nothing_left(name, len(texts), groups, threshold))
    files = {f"{name}.txt": order[parts[order] == number] for number, name in enumerate(PARTS)}
    write_rows(save_dir, stored(texts, ids, labels), files, {"label.txt": labels, **dict(more)})
    print_counts(save_dir, ids, groups, parts, labels, PARTS)


def stored(texts, ids, labels):
    """Samples in a file, whatever they are in now: StoredTexts."""
    return texts if isinstance(texts, StoredTexts) else StoredTexts.of(texts, [labels[index] for index in ids])


def write_rows(save_dir, texts, files, more):
    """Write files of samples into a folder: all of them or none, and none without a sample.

    Args:
        save_dir (Path): the folder, which is made where it is not there.
        texts (StoredTexts): the samples.
        files (dict[str, np.ndarray]): name -> numbers of the samples, in their order.
        more (dict[str, list[str]]): name -> lines of further files.

    Raises:
        UsageError: the folder cannot be written to.
    """
    total = sum(map(len, files.values()))
    try:
        bar = progress_bar(total=total, desc="writing", disable=total < SHORT_WORK)
        with staged_files(save_dir) as stage, bar as bar:
            for name, lines in more.items():
                (stage / name).write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
            for name, rows in files.items():
                if len(rows):
                    texts.write(rows, stage / name, bar)
    except OSError as error:
        raise UsageError(f"{save_dir}: cannot write there ({error.strerror}); choose another --save_dir") from None


def nothing_left(name, size, groups, threshold):
    """Why a part has no sample, and what to do."""
    largest = int(np.bincount(groups).max()) if size else 0
    if 2 * largest > size > 1:
        return (
            f"no sample is left for {name}.txt: {largest:,} of {size:,} texts are equal or nearly equal and stay "
            f"together; are texts and labels in the right columns? Else raise --near_duplicate_threshold {threshold:g}"
        )
    return f"{size:,} samples: none is left for {name}.txt; give more of them, or larger shares: --splits 0.5 0.5"


def print_counts(save_dir, ids, groups, parts, labels, names):
    """Print the samples of each part and label, and the groups that stayed together."""
    cells = np.asarray(ids, dtype=np.int64) * len(names) + parts
    counts = np.bincount(cells, minlength=len(labels) * len(names)).reshape(len(labels), len(names))
    shown = labels if len(labels) <= MAX_LABELS_SHOWN else labels[: MAX_LABELS_SHOWN - 1]
    rows = [{**dict(zip(names, row)), "label": f" {shortened(label)}"} for label, row in zip(shown, counts.tolist())]
    if len(shown) < len(labels):
        rest = counts[len(shown) :].sum(axis=0).tolist()
        rows.append({**dict(zip(names, rest)), "label": f" in {len(labels) - len(shown):,} more labels"})
    rows.append({**dict(zip(names, counts.sum(axis=0).tolist())), "label": f" in {save_dir}"})
    print("\n".join(format_table(rows)))
    sizes = np.bincount(groups)
    if sizes.max() > 1:
        together = f"{(sizes > 1).sum():,} groups of equal or nearly equal texts stayed together"
        print(f"{together}; the largest has {sizes.max():,} texts")


def write_folds(save_dir, texts, ids, labels, folds, seed, threshold, more=()):
    """Write fold_1 to fold_<folds>, each with label.txt, train.txt and dev.txt; `more` as in write_parts."""
    if folds > len(texts):
        raise UsageError(f"--folds {folds}: too many for {len(texts)} samples; give fewer")
    groups = similar_groups(texts, threshold)
    parts, order = assign(groups, ids, [1 / folds] * folds, seed)
    texts, more = stored(texts, ids, labels), {"label.txt": labels, **dict(more)}
    for fold in range(folds):
        is_dev = parts[order] == fold
        files = {"train.txt": order[~is_dev], "dev.txt": order[is_dev]}
        if not all(map(len, files.values())):
            raise UsageError(f"--folds {folds}: too many, since near-duplicates stay together; give fewer")
        write_rows(save_dir / f"fold_{fold + 1}", texts, files, more)
    print_counts(save_dir, ids, groups, parts, labels, [f"fold_{fold + 1}" for fold in range(folds)])
