"""What belongs to an index beside its rows: the settings of the vote, and what labels were renamed to.

The index keeps them as notes, in the order in which they were made:

    {"set": {"k": 10, …}}           of --fit_threshold
    {"renaming": [old, new]}        before the rows of a label are changed: from here on the new name counts
    {"renamed": [old, new]}         when all its rows have the new name
    {"renames": {old: new, …}}      taken over from the file in which earlier versions kept all this
"""

import itertools
import os

from utils import UsageError, read_json, staged_files, write_json

# What counts until a fit has found better: no text is unknown then.
DEFAULTS = {"k": 10, "temperature": 0.05, "threshold": None, "weight": 0.5, "fall_back": 0.8}
# Where earlier versions kept it, in the folder of the model, whatever the index.
OLD_FILE = "system.json"


def read_notes(notes):
    """What the notes of an index come to.

    Args:
        notes (list[dict]): oldest first.

    Returns:
        tuple[dict, list[tuple[str, str]]]: the settings of DEFAULTS that were set, and `renamed`, from a classifier's
            labels to what they are called now; and the renamings (old, new) that are not finished.
    """
    settings, renamed, pending = {}, {}, []
    for note in notes:
        settings.update(note.get("set", {}))
        renamed.update(note.get("renames", {}))
        if "renaming" in note and tuple(note["renaming"]) not in pending:
            pending.append(tuple(note["renaming"]))
            renamed = renamed_labels(renamed, *note["renaming"])
        if "renamed" in note and tuple(note["renamed"]) in pending:
            pending.remove(tuple(note["renamed"]))
    return {**settings, "renamed": renamed}, pending


def renamed_labels(renamed, old, new):
    """What the classifier's labels are called after one more renaming.

    A label of the classifier that has another name by now is not `old`: that is a new label with its former name.
    """
    after = {first: new if now == old else now for first, now in renamed.items()}
    after.setdefault(old, new)
    return {first: now for first, now in after.items() if first != now}


# ----------------------------------------------------------------------------------------------------------- the file


def read_settings(path, model_hash):
    """The content of a file of settings; empty where there is none.

    Raises:
        UsageError: it cannot be read, or was fitted with another model.
    """
    if not path.exists():
        return {}
    settings = read_json(path)
    if not settings:
        raise UsageError(f"{path}: cannot be read as JSON; run --fit_threshold again, or delete it")
    if settings.get("model_hash") != model_hash:
        raise UsageError(f"{path}: fitted with another model; run --fit_threshold again, or delete it")
    return settings


def write_settings(path, settings):
    with staged_files(path.parent) as stage:
        write_json(stage / path.name, settings)


def take_over(index, path, stored, moves, say):
    """Give an index without notes what an earlier version kept in a file.

    Args:
        index: of open_index.
        path (Path): the file.
        stored (dict): its content.
        moves (bool): all of it is taken, and the file moved away; else only what labels were renamed to.
        say (Callable[[str], None]): gets a line for the user.

    Returns:
        list[dict]: notes that count although the index could not be written.
    """
    renames = stored.get("renamed", {})
    foreign = sorted(index.present(renames))
    if foreign:
        say(
            f"{path}: not taken over, since it renames {foreign[0]!r}, a label that this index has; it is another "
            "index's. Run --fit_threshold for this one"
        )
        return []
    fitted = {name: stored[name] for name in DEFAULTS if name in stored} if moves else {}
    notes = [{"set": fitted}] * bool(fitted) + [{"renames": renames}] * bool(renames)
    try:
        for note in notes:
            index.add_note(note)
        if notes:
            say(f"{path}: {'its settings are' if moves else 'what it renamed is'} with the index from now on")
        if notes and moves:
            moved = next(name for name in free_names(path) if not name.exists())
            os.replace(path, moved)
            say(f"{path}: is {moved.name} now. For other indexes of this model run --fit_threshold")
    except (UsageError, OSError) as error:
        say(f"{path}: counts, but could not be moved into the index ({error})")
        return notes
    return []


def free_names(path):
    """Names for a file that is done with: path.old, path.old2, …"""
    return (path.with_name(f"{path.name}.old{number or ''}") for number in itertools.chain([0], itertools.count(2)))
