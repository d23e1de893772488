"""The finished parts of a file that is being written, beside it: after a kill -9 the same command goes on from them.

<output>.parts/ has run.json, which says what the parts are the answer to; for each part its rows (part-0000012.data)
and then, when these are on the disk, part-0000012.json with what is counted and the rows left out: a part is there
when that is. At the end they are joined, and all files appear under their names by renames.
"""

import contextlib
import csv
import json
import os
from pathlib import Path

from core.durable import write_durably
from core.locks import FileLock
from utils import UsageError, read_json, write_json

RUN_FILE, LOCK_FILE = "run.json", "run.lock"
# By which a folder is known as one of these.
KIND = "parts of predictions"
REJECTED = ("file", "line", "reason", "content")
# What a difference between two runs is called.
WORDS = {
    "input": "the input's content",
    "model": "the model",
    "columns": "the columns",
    "options": "a flag",
    "versions": "the version of a package",
}


class Parts:
    """Parts of one output.

    Args:
        output (Path): the file that they will be.
        overwrite (bool): a file that is there, and parts of another run, may be replaced.
        flag (str): what the user chose the file with.

    Attributes:
        folder (Path): where they lie.
        rejected, report (Path): the files that come beside the output.
        done (dict[int, dict]): number of a part -> what add was given, of those that are there; of the rows left
            out, how many.
    """

    def __init__(self, output, overwrite=False, flag="--output"):
        self.output, self.overwrite, self.flag = Path(output), overwrite, flag
        self.folder = self.output.with_name(f"{self.output.name}.parts")
        self.rejected = self.output.with_name(f"{self.output.stem}.rejected.csv")
        self.report = self.output.with_name(f"{self.output.stem}.report.txt")
        self.done, self.facts, self.descriptor = {}, None, None
        busy = "is writing there; wait for it, stop it, or choose another file"
        self.lock = FileLock(self.folder / LOCK_FILE, "flock", busy)

    def check(self):
        """Refuse what may not be replaced; changes nothing.

        Raises:
            UsageError: the output or what comes beside it is there, or the folder of parts is another program's.
        """
        state = read_json(self.folder / RUN_FILE)
        if self.folder.exists() and state.get("kind") != KIND:
            there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else {"?"}
            if there - {LOCK_FILE, f"{RUN_FILE}.writing"}:
                raise UsageError(f"{self.folder}: was not made here; move it away, or choose another {self.flag}")
        if not state.get("joining"):
            self._refuse_existing()

    def _refuse_existing(self):
        for path in (self.output, self.rejected, self.report):
            if path.is_dir():
                raise UsageError(f"{path}: is a folder; give the name of a file with {self.flag}")
            if os.path.lexists(path) and not self.overwrite:
                how = "add --overwrite to replace it, or " if self.flag == "--output" else "move it away, or "
                raise UsageError(f"{path}: is there already; {how}choose another {self.flag}")

    def begin(self, facts):
        """Lock the folder, and find the parts that are there.

        Args:
            facts (dict): JSON values: what the parts depend on, by the keys of WORDS.

        Raises:
            UsageError: another process writes there, or the parts are those of another run.
        """
        self.descriptor = self.lock.take()
        self.facts = json.loads(json.dumps({"kind": KIND, **facts}))
        known = read_json(self.folder / RUN_FILE)
        other = [key for key in WORDS if known and known.get(key) != self.facts.get(key)]
        if other and not self.overwrite and any(self.folder.glob("part-*.json")):
            what = " and ".join(_difference(key, known.get(key), self.facts.get(key)) for key in other)
            raise UsageError(
                f"{self.folder}: holds the beginning of another run ({what}); to go on with that, give what it was "
                f"begun with; else delete the folder{', or add --overwrite' * (self.flag == '--output')}"
            )
        if other:
            for path in self.folder.glob("part-*"):
                path.unlink()
        if other or not known:
            self._write_state()
        elif known.get("joining"):
            self.facts["joining"] = True
        for path in sorted(self.folder.glob("part-*.json")):
            counts = read_json(path)
            if counts and self._data(int(path.stem[5:])).is_file():
                self._note(int(path.stem[5:]), counts)

    def _write_state(self):
        new = self.folder / f"{RUN_FILE}.writing"
        write_json(new, self.facts)
        os.replace(new, self.folder / RUN_FILE)

    def _data(self, number):
        return self.folder / f"part-{number:07d}.data"

    def add(self, number, write, counts):
        """Keep one part.

        Args:
            number (int): from 0.
            write (Callable[[Path], None]): writes its rows into a file.
            counts (dict): JSON values, with the rows left out as rejected: list[list], columns of REJECTED.
        """
        target = self._data(number)
        write_durably(target, write)
        write_durably(target.with_suffix(".json"), lambda path: path.write_text(json.dumps(counts), encoding="ascii"))
        self._note(number, counts)

    def _note(self, number, counts):
        # Of all parts, only what is counted stays in memory.
        self.done[number] = {**counts, "rejected": len(counts["rejected"])}

    def join(self, join, report):
        """Make the output of the parts, and delete them.

        Args:
            join (Callable[[list[Path], Path], None]): writes a file of parts.
            report (list[str] | None): lines of a file beside it.

        Returns:
            list[Path]: the files that are there now.
        """
        if not self.facts.get("joining"):
            self._refuse_existing()
        numbers = sorted(self.done)
        write_durably(self.folder / "output", lambda path: join([self._data(number) for number in numbers], path))
        found = [("output", self.output)]
        if self._has_rejected(numbers) or os.path.lexists(self.rejected):
            write_durably(self.folder / "rejected", lambda path: self._write_rejected(numbers, path))
            found.insert(0, ("rejected", self.rejected))
        if report:
            lines = "".join(f"{line}\n" for line in report).encode("utf-8")
            write_durably(self.folder / "report", lambda path: path.write_bytes(lines))
            found.insert(0, ("report", self.report))
        self.facts["joining"] = True
        self._write_state()
        for name, target in found:
            os.replace(self.folder / name, target)
        for path in self.folder.glob("part-*"):
            path.unlink()
        for name in ("report", "rejected", "output"):
            (self.folder / name).unlink(missing_ok=True)
        self.close()
        return [target for _, target in reversed(found)]

    def _has_rejected(self, numbers):
        return any(self.done[number]["rejected"] for number in numbers)

    def _write_rejected(self, numbers, path):
        with path.open("w", encoding="utf-8-sig", newline="", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(REJECTED)
            for number in numbers:
                if self.done[number]["rejected"]:
                    writer.writerows(read_json(self._data(number).with_suffix(".json"))["rejected"])

    def close(self):
        """Let others have the folder; where no part is in it, it goes."""
        if self.descriptor is None:
            return
        is_empty = not any(self.folder.glob("part-*"))
        if is_empty:
            (self.folder / RUN_FILE).unlink(missing_ok=True)
        self.lock.give_back(self.descriptor)
        self.descriptor = None
        if is_empty:
            with contextlib.suppress(OSError):  # something else lies there
                self.folder.rmdir()


def _difference(key, before, now):
    """What is other in two runs, in words."""
    if key in ("options", "versions") and isinstance(before, dict):
        return ", ".join(
            f"{name} {before.get(name)} before, {value} now"
            for name, value in now.items()
            if before.get(name) != value
        )
    return f"{WORDS[key]} is other"
