"""Files that are on the disk when they have their names, whenever the process or the machine ends."""

import os
from pathlib import Path


def write_durably(target, write, mark=""):
    """Write a file so that it is there whole, on the disk, or not at all.

    Args:
        target (Path): the file; what is there is replaced.
        write (Callable[[Path], object]): writes the content to the path that it is given.
        mark (str): in the name that the file has until it is whole, where several processes may write it at once.
    """
    new = Path(target).with_name(f"{Path(target).name}{mark}.writing")
    write(new)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(new, target)
