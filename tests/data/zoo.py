"""Files as people have them, written as the programs write them, all with the same samples."""

import csv
import gzip
import io
import json
import zipfile

# Text and label; commas, quotes, line breaks, HTML inside, as in exports of reviews.
NAMES = ["体育", "财经", "科技"]
IDS = {"体育": "0", "财经": "1", "科技": "2"}
WORDS = {
    "体育": "球队 比赛 冠军 联赛 教练 进球 主场 决赛",
    "财经": "股市 基金 利率 银行 投资 债券 汇率 上涨",
    "科技": "手机 芯片 系统 软件 网络 机器人 卫星 算法",
}


def samples(size=60):
    """Texts and labels, each label in turn."""
    found = []
    for number in range(size):
        label = NAMES[number % 3]
        words = WORDS[label].split()
        first, second = words[number % 8], words[(number * 3 + 1) % 8]
        found.append((f"{first}的新消息，第{number}条说{second}受到关注", label))
    return found


SAMPLES = samples()


def write(path, text, encoding="utf-8", newline="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    return path


def table(rows, dialect="excel", **options):
    """Rows as the csv module writes them."""
    file = io.StringIO()
    csv.writer(file, dialect, lineterminator="\n", **options).writerows(rows)
    return file.getvalue()


def excel_utf8(folder):
    """Excel: CSV UTF-8, with a mark, CRLF, line breaks and quotes inside cells."""
    rows = [["编号", "评论内容", "类别"], *([str(i), f'他说"{t}"\n第二行,完', n] for i, (t, n) in enumerate(SAMPLES))]
    wanted = [(f'他说"{text}" 第二行,完', label) for text, label in SAMPLES]
    return write(folder / "评论.csv", table(rows), "utf-8-sig", "\r\n"), wanted


def excel_chinese(folder):
    """Excel in China: CSV in GBK without a mark."""
    rows = [["标题", "类别"], *SAMPLES]
    return write(folder / "gbk.csv", table(rows), "gbk", "\r\n"), SAMPLES


def excel_unicode(folder):
    """Excel: Unicode text, which is UTF-16 with tabs."""
    rows = [["文本", "标签"], *((f"{text}, 完", label) for text, label in SAMPLES)]
    text = table(rows, "excel-tab", quoting=csv.QUOTE_MINIMAL)
    return write(folder / "unicode.txt", text, "utf-16", "\r\n"), [(f"{t}, 完", n) for t, n in SAMPLES]


def excel_german(folder):
    """Excel in Europe: semicolons, CP1252."""
    rows = [["Nachricht", "label"]]
    wanted = []
    for number in range(60):
        text, label = f"Größe {number} paßt nicht; bitte ändern für mich", ("Rückgabe", "Größe", "Frage")[number % 3]
        wanted.append((text, label))
    return write(folder / "de.csv", table(rows + wanted, delimiter=";"), "cp1252", "\r\n"), wanted


def label_first(folder):
    """THUCNews in one file: the label, a tab, the text; no names."""
    return write(folder / "cnews.train.txt", "".join(f"{n}\t{t}\n" for t, n in SAMPLES)), SAMPLES


def class_ids(folder):
    """Text, a tab, the number of the class; class.txt beside it."""
    write(folder / "class.txt", "\n".join(NAMES) + "\n")
    return write(folder / "train.txt", "".join(f"{t}\t{IDS[n]}\n" for t, n in SAMPLES)), SAMPLES


def toutiao(folder):
    """id, code, name, title, keywords, with _!_ between."""
    names = {"体育": "news_sports", "财经": "news_finance", "科技": "news_tech"}
    lines = [
        f"65{number}_!_{100 + NAMES.index(n)}_!_{names[n]}_!_{t}_!_{','.join(WORDS[n].split()[: number % 3])}\n"
        for number, (t, n) in enumerate(SAMPLES)
    ]
    return write(folder / "toutiao_cat_data.txt", "".join(lines)), [(t, names[n]) for t, n in SAMPLES]


def fasttext(folder):
    return write(folder / "ft.txt", "".join(f"__label__{n} , {t}\n" for t, n in SAMPLES)), SAMPLES


def tnews(folder):
    """CLUE: JSON lines with an id, its name, the sentence and keywords."""
    lines = [
        json.dumps(
            {"label": str(100 + NAMES.index(n)), "label_desc": n, "sentence": t, "keywords": "新闻,消息"[: i % 6]}
        )
        for i, (t, n) in enumerate(SAMPLES)
    ]
    return write(folder / "train.json", "\n".join(lines) + "\n"), SAMPLES


def json_list(folder):
    rows = [{"text": t, "meta": {"source": "web"}, "label": [n]} for t, n in SAMPLES]
    return write(folder / "list.json", json.dumps({"data": rows}, ensure_ascii=False, indent=2)), SAMPLES


def pandas_json(folder):
    """DataFrame.to_json(): an object a column."""
    columns = zip(("text", "label"), zip(*SAMPLES))
    text = {name: {str(number): cell for number, cell in enumerate(cells)} for name, cells in columns}
    return write(folder / "frame.json", json.dumps(text)), SAMPLES


def folders(folder):
    for number, (text, label) in enumerate(SAMPLES):
        write(folder / "THUCNews" / label / f"{number}.txt", f"{text}\n\u3000\u3000正文。\n", "gbk")
    return folder / "THUCNews", [(f"{text} 正文。", label) for text, label in SAMPLES]


def zipped(folder):
    """A zip as Windows makes it, with GBK names: a folder a label."""

    class Info(zipfile.ZipInfo):
        def _encodeFilenameFlags(self):
            return self.filename.encode("gbk"), self.flag_bits & ~0x800

    with zipfile.ZipFile(folder / "news.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (text, label) in enumerate(SAMPLES):
            archive.writestr(Info(f"news/{label}/{number}.txt"), text.encode("utf-8"))
        archive.writestr("__MACOSX/._x", b"x")
    return folder / "news.zip", SAMPLES


def gzipped(folder):
    path = folder / "data.tsv.gz"
    path.write_bytes(gzip.compress(table([["sentence", "label"], *SAMPLES], "excel-tab").encode("utf-8")))
    return path, SAMPLES


def parquet(folder):
    """The datasets library: class ids, and their names in the file."""
    import pyarrow
    from pyarrow import parquet

    rows = pyarrow.table({"text": [t for t, _ in SAMPLES], "label": [int(IDS[n]) for _, n in SAMPLES]})
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(rows, folder / "train-00000-of-00001.parquet", row_group_size=25)
    return folder / "train-00000-of-00001.parquet", SAMPLES


def mysql(folder):
    r"""A dump with \" inside quotes."""
    rows = [(f'说"{text}"', label) for text, label in SAMPLES]
    text = "".join(f'"{t}","{n}"\n'.replace('说"', '说\\"').replace('注"', '注\\"') for t, n in rows)
    return write(folder / "dump.csv", text), rows


def cr_only(folder):
    """An old Mac's line ends."""
    return write(folder / "mac.txt", "".join(f"{t}\t{n}\n" for t, n in SAMPLES), newline="\r"), SAMPLES


FILES = [
    excel_utf8, excel_chinese, excel_unicode, excel_german, label_first, class_ids, toutiao, fasttext, tnews,
    json_list, pandas_json, folders, zipped, gzipped, parquet, mysql, cr_only,
]  # fmt: skip
