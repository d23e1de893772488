"""Small archives in the shapes of KUAKE-QIC, and what prepare.py makes of them."""

import io
import json
import tarfile
import zipfile

from data.prepare import LABELS

# White space as it is found in the wild: two spaces, an ideographic space, a tab, a line separator.
TRAIN = [(f"{label}的  问题\u3000一", label) for label in LABELS] + [("头\t疼\u2028怎么办 ", LABELS[1])]
DEV = [("发烧吃什么药", LABELS[1]), (" 多少钱", LABELS[9])]
QUERIES = ["白 带", "胃 \n痛"]

WRITTEN = {
    "train.txt": "".join(f"{label}的 问题 一\t{label}\n" for label in LABELS) + "头 疼 怎么办\t治疗方案\n",
    "dev.txt": "发烧吃什么药\t治疗方案\n多少钱\t医疗费用\n",
    "label.txt": "".join(f"{label}\n" for label in LABELS),
    "data.txt": "白 带\n胃 痛\n",
}


def txt_files(train=TRAIN, dev=DEV):
    """The files as PaddleNLP packs them; the labels in another order, to see that it is not taken over."""
    return {
        "KUAKE_QIC/train.txt": "".join(f"{text}\t{label}\n" for text, label in train),
        "KUAKE_QIC/dev.txt": "".join(f"{text}\t{label}\n" for text, label in dev),
        "KUAKE_QIC/label.txt": "\n".join(reversed(LABELS)),
        "KUAKE_QIC/data.txt": "\n".join(query.replace("\n", "") for query in QUERIES) + "\n",
    }


def json_files(train=TRAIN, dev=DEV, queries=QUERIES):
    """The files as CBLUE packs them."""
    rows = {"train": train, "dev": dev, "test": [(query, "") for query in queries]}
    return {
        f"KUAKE-QIC/KUAKE-QIC_{split}.json": json.dumps(
            [{"id": f"s{index}", "query": text, "label": label} for index, (text, label) in enumerate(pairs)],
            ensure_ascii=False,
        )
        for split, pairs in rows.items()
    }


def as_bytes(content):
    return content if isinstance(content, bytes) else content.encode("utf-8")


def make_tar(path, files, mode="w:gz", links=()):
    """Write a tar of `files` (name -> content) and of `links` ((name, target, tarfile type), …)."""
    with tarfile.open(path, mode) as archive:
        for name, target, kind in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(target)
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(as_bytes(content))
            archive.addfile(member, io.BytesIO(as_bytes(content)))
    return path


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("KUAKE-QIC/", "")
        for name, content in files.items():
            archive.writestr(name, as_bytes(content))
    return path


def make_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(as_bytes(content))
    return path


def contents(folder):
    """File name -> text of everything below a folder, so that leftovers are seen too."""
    return {str(path.relative_to(folder)): path.read_bytes().decode() for path in folder.rglob("*") if path.is_file()}
