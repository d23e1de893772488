"""Data folders for the tests of check.py: lines that are added, findings, and damage of every kind."""

from data import check

TEXT = "孩子反复咳嗽半个月了应该挂哪个科室的号"

ENCODINGS = "gbk gb18030 big5 utf-16 utf-16-le utf-16-be utf-8-sig latin-1".split()

ODD_CHARACTERS = "\u200b \ufeff \u3000 \xa0 \ue000 \U0010ffff \u2028 \x1c \x85 ﷽ 𠮷 é".split(" ")


def rows_of(folder, kind, **options):
    """(file, line, message) of each finding of a kind."""
    summary = check.check_folder(folder, **options).summary()
    found = [finding for finding in summary["findings"] if finding["kind"] == kind]
    return [(row["file"], row["line"], row["message"]) for finding in found for row in finding["rows"]]


def add_lines(folder, name, *lines):
    path = folder / f"{name}.txt"
    old = path.read_bytes() if path.is_file() else b""
    path.write_bytes(old + b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))


def run(*flags):
    return check.main([str(flag) for flag in flags])


def mutate(folder, rng):
    """Damage one to three files of a data folder the way transfers, editors and people do."""
    for _ in range(rng.randrange(1, 4)):
        path = folder / f"{rng.choice(['train', 'train', 'dev', 'label', 'test', 'data'])}.txt"
        data = path.read_bytes() if path.is_file() else b""
        lines = data.split(b"\n")
        at, row = rng.randrange(len(data) + 1), rng.randrange(len(lines))
        kind = rng.randrange(18)
        if kind == 0:  # bytes flipped
            for _ in range(rng.randrange(1, 20)):
                at = rng.randrange(len(data)) if data else 0
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 1:  # cut off
            data = data[:at]
        elif kind == 2:  # tabs added
            data = data[:at] + b"\t" * rng.randrange(1, 3) + data[at:]
        elif kind == 3:  # line ends added
            data = (
                data[:at]
                + rng.choice([b"\n", b"\n\n\n", b"\r", b"\r\n", b"\x0b", b"\xc2\x85", b"\xe2\x80\xa8"])
                + data[at:]
            )
        elif kind == 4:  # NULs
            data = data[:at] + b"\0" * rng.choice([1, 3, 5000]) + data[at:]
        elif kind == 5:  # a huge line
            data = (
                data[:at] + rng.choice(["药", "a", " ", "药 a"]).encode() * rng.choice([10_000, 300_000]) + data[at:]
            )
        elif kind in (6, 7):  # the whole file in another encoding
            data = data.decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")
        elif kind == 8:  # one line in another encoding
            lines[row] = lines[row].decode("utf-8", "replace").encode(rng.choice(["gbk", "big5", "utf-16"]), "replace")
            data = b"\n".join(lines)
        elif kind == 9:  # lines lost
            data = b"\n".join(line for line in lines if rng.random() < 0.5)
        elif kind == 10:  # lines repeated
            data = b"\n".join(lines + rng.choices(lines, k=rng.randrange(1, 30)))
        elif kind == 11:
            data = data.replace(b"\n", b"\r\n" if rng.random() < 0.7 else b"\r")
        elif kind == 12:  # columns change places
            data = b"\n".join(b"\t".join(reversed(line.split(b"\t"))) for line in lines)
        elif kind == 13:
            data = data.replace(b"\t", rng.choice([b" ", b",", b"    ", b"\\t", b""]), rng.choice([1, -1]))
        elif kind == 14:  # odd characters, some of them blank to str.strip
            odd = rng.choice(ODD_CHARACTERS)
            data = data[:at] + odd.encode() * rng.randrange(1, 5) + data[at:]
        elif kind == 15:
            data = rng.choice([b"", b"\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\t", b" \n\t\n", b"\0"])
        elif kind == 16:
            path.unlink(missing_ok=True)
            continue
        else:  # texts of another file
            other = folder / f"{rng.choice(['train', 'dev', 'label'])}.txt"
            data += other.read_bytes()[:2000] if other.is_file() else b""
        path.write_bytes(data)
