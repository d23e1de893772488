"""Which way to go with a data folder that check.py has looked at, and the measured figures that this rests on.

WAYS is the table of the ways: the first one that fits is recommended. FIGURES is the table of what was measured, each
figure with the README that tells how; tests/data/test_advice.py sees to it that they are still there.
"""

import dataclasses
import math
import os
import shlex
import statistics
import string
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

BENCHES, DATA, TOP = "tests/bench/README.md", "data/README.md", "README.md"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A measured figure: as it is said, the README that has it, its section, and the words there."""

    value: str
    readme: str
    section: str
    quote: str


# The encoder that all of them were measured with, but for svc and long.
ENCODER = "data/offline_encoder"
# What build_encoder.py --texts makes, for data with one of these findings.
OWN_ENCODER, UNREAD = "data/offline_encoder_own", {"foreign_script", "unknown_tokens"}
WITH_DATA = "**对比训练，加未标注的文本（`setfit.py`，有 `data.txt`）** | 50.60 ± 0.13 | 67.28 ± 2.54 |"
WITHOUT_DATA = "| 句向量对比训练 + 分类头（`setfit.py --ngram_weight 0`） | 49.94 ± 0.27 | 64.33 ± 1.35 |"
TUNED = "| 微调（`train.py`） | 44.11 ± 1.12 | 61.39 ± 1.29 |"
MORE = "每类 64 条（`--sets kuake_qic --shots 64`，1 个种子）：`setfit.py` 72.9，微调 70.5。"
FIGURES = {
    "setfit_tnews": Figure("50.60", BENCHES, "6", WITH_DATA),
    "setfit_qic": Figure("67.28", BENCHES, "6", WITH_DATA),
    "alone_tnews": Figure("49.94", BENCHES, "6", WITHOUT_DATA),
    "alone_qic": Figure("64.33", BENCHES, "6", WITHOUT_DATA),
    "tuned_tnews": Figure("44.11", BENCHES, "6", TUNED),
    "tuned_qic": Figure("61.39", BENCHES, "6", TUNED),
    "setfit_64": Figure("72.9", BENCHES, "6", MORE),
    "tuned_64": Figure("70.5", BENCHES, "6", MORE),
    "tuned_all": Figure("79.83", BENCHES, "1", "| 离线预训练模型，3 个种子的平均 | **79.83**（标准差 0.46） |"),
    "strong": Figure("80.77", BENCHES, "9", "平均 **80.77 %**（标准差 0.50）"),
    "svc": Figure("76.98", BENCHES, "1", "| TF-IDF（字的 1–3 元组）+ LinearSVC | 76.98 |"),
    "sample": Figure("83.6", TOP, "2", "开发集准确率 83.6%"),
    "vote": Figure("79.03", BENCHES, "7", "| 训练文本投票 | 79.03（k = 20） |"),
    "classifier": Figure("79.23", BENCHES, "7", "| 分类器 | 79.23 | 79.23 |"),
    "added": Figure("74.36", BENCHES, "7", "| 只加文本 | 77.39 | 77.73 | 74.36 |"),
    "again": Figure("83.59", BENCHES, "7", "| 用全部标签重新训练 | 78.06 | 77.44 | 83.59 |"),
    "long": Figure("8", DATA, "3", "8 条文本超过 128 个 token"),
}

# Samples a label up to which few-shot/setfit.py was ahead, and from which fine-tuning is the plain choice.
FEW, ENOUGH = 64, 100
# Labels from which an index is the way.
MANY_LABELS = 1000
# Figures speak for numbers up to so many times those that were measured, or down to that part of them.
NEAR = 2
# Above this share of texts over --max_length the command asks for more, as far as the encoder has positions.
LONG_SHARE, MAX_POSITIONS = 0.01, 512
# What all that was measured has, in tokens; "long" above is how few texts of it were longer.
MEASURED_LENGTH = 128


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the advice depends on, of Check.summary()."""

    folder: str  # as it is written in a command that runs in the repository's root
    labels: int
    per_label: int  # training texts of the label in the middle
    fewest: int
    most: int
    unlabelled: int
    has_data_file: bool
    blank_lines: bool  # in data.txt
    has_test: bool
    dev_only: bool  # a label that dev has and train has not
    over_max_length: float  # share of the training texts
    length: int  # --max_length for them

    def path(self, name):
        return str(Path(self.folder) / name)


def facts_of(summary):
    """The Facts in a Check.summary() without errors."""
    files = summary["files"]
    train, dev, data = (files.get(f"{name}.txt", {}) for name in ("train", "dev", "data"))
    counts = [int(count) for count in train["labels"].values()]
    over = train["tokens"]["over_max_length"] / train["samples"]
    length = min(MAX_POSITIONS, summary["max_length"])
    if over > LONG_SHARE:
        length = max(length, min(MAX_POSITIONS, math.ceil(train["tokens"]["p99"] / 32) * 32))
    return Facts(
        folder=from_root(summary["dataset_dir"]),
        labels=len(counts),
        per_label=int(statistics.median(counts)),
        fewest=min(counts),
        most=max(counts),
        unlabelled=data.get("samples", 0),
        has_data_file="data.txt" in files,
        blank_lines=data.get("lines", 0) != data.get("samples", 0),
        has_test=files.get("test.txt", {}).get("samples", 0) > 0,
        dev_only=any(count and not train["labels"].get(label) for label, count in dev.get("labels", {}).items()),
        over_max_length=over,
        length=length,
    )


def from_root(folder):
    """A folder's path as a command in the repository's root has it."""
    is_there = Path(folder).is_absolute() or Path.cwd() == ROOT
    return str(folder) if is_there else os.path.abspath(folder)


# ----------------------------------------------------------------------------------------------------------- the ways

SETFIT_FLAGS = f"--model_name_or_path {ENCODER} --output_dir checkpoints_setfit --do_train --do_eval".split()
# As make bench-quality has them; the second ones as make train has them for the sample data.
TRAIN_FLAGS = (
    f"--do_train --do_eval --do_export --model_name_or_path {ENCODER} --output_dir checkpoint --learning_rate 1e-4 "
    "--per_device_train_batch_size 32 --per_device_eval_batch_size 32 --evaluation_strategy epoch "
    "--save_strategy epoch --save_total_limit 1 --load_best_model_at_end --metric_for_best_model accuracy"
).split()
# As tests/bench/README.md, 7, has them.
RETRIEVAL_FLAGS = (
    f"--model_name_or_path {ENCODER} --save_dir checkpoint/retrieval --positives label --margin 0 --scale 20 "
    "--learning_rate 1e-4 --batch_size 32 --epochs 3"
).split()


def setfit_command(facts):
    command = ["python", "few-shot/setfit.py", "--data_dir", facts.folder, *SETFIT_FLAGS]
    command += ["--do_predict"] if facts.has_test or facts.unlabelled else []
    if facts.has_data_file and not facts.unlabelled:
        command += ["--unlabelled_weight", "0"]  # it refuses to read an empty file
    return command + (["--max_seq_length", str(facts.length)] if facts.length != MEASURED_LENGTH else [])


def train_command(facts, epochs=4):
    flags = ["--num_train_epochs", str(epochs), "--max_length", str(facts.length)]
    return ["python", "train.py", "--data_dir", facts.folder, *TRAIN_FLAGS, *flags]


def retrieval_command(facts):
    # All labels must be among what is searched: texts have those of train alone.
    files = {"train_set": "train.txt", "corpus": "label.txt" if facts.dev_only else "train.txt"}
    flags = [part for name, file in files.items() for part in (f"--{name}_file", facts.path(file))]
    flags += ["--similar_text_pair_file", facts.path("dev.txt"), "--max_seq_length", str(facts.length)]
    return ["python", "retrieval_based/train.py", *flags, *RETRIEVAL_FLAGS]


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to go.

    Attributes:
        name (str): for --json.
        fits (Callable[[Facts], bool]): whether to recommend it, where none before it is.
        commands (Callable[[Facts], list[list[str]]]): the one to run, and others to compare with.
        said, measured (dict[str, str]): language -> what it is; what was measured, with {names} of FIGURES.
        ranges (dict[str, tuple[int, int]]): of Facts, the least and the most that was measured.
        requirements (dict[str, str]): package that is needed -> its requirements file.
    """

    name: str
    fits: Callable
    commands: Callable
    said: dict
    measured: dict
    ranges: dict
    requirements: dict = dataclasses.field(default_factory=dict)


WAYS = (
    Way(
        "retrieval",
        lambda facts: facts.labels >= MANY_LABELS and facts.per_label < ENOUGH,
        lambda facts: [retrieval_command(facts)],
        {
            "en": "many labels, few texts of each: search for the nearest texts, retrieval_based/",
            "zh": "标签很多、每个标签的文本很少：用向量检索，retrieval_based/",
        },
        {
            "en": "KUAKE-QIC (11 labels, 6,237 texts; dev accuracy, 1 seed): vote of the nearest texts {vote}, "
            "classifier {classifier}; labels added as texts, without training: {added} of their texts right, {again} "
            "after training on all labels",
            "zh": "KUAKE-QIC（11 类，6,237 条，开发集准确率，1 个种子）：最近的文本投票 {vote}，分类器 {classifier}；"
            "只加文本、不训练的新标签答对 {added}，用全部标签重新训练是 {again}",
        },
        {"labels": (11, 11)},
        {"hnswlib": "retrieval_based/requirements.txt"},
    ),
    Way(
        "setfit",
        lambda facts: facts.per_label <= FEW and facts.unlabelled > 0,
        lambda facts: [setfit_command(facts)],
        {
            "en": "few labelled texts, and unlabelled ones in data.txt: few-shot/setfit.py",
            "zh": "标注少，data.txt 有未标注的文本：few-shot/setfit.py",
        },
        {
            "en": "test accuracy with 16 texts a label (5 seeds): KUAKE-QIC (11 labels) {setfit_qic}, fine-tuning "
            "{tuned_qic}; tnews (15 labels) {setfit_tnews}, fine-tuning {tuned_tnews}. With 64 a label, KUAKE-QIC "
            "(1 seed): {setfit_64}, fine-tuning {tuned_64}",
            "zh": "每类 16 条的测试集准确率（5 个种子）：KUAKE-QIC（11 类）{setfit_qic}，微调 {tuned_qic}；"
            "tnews（15 类）{setfit_tnews}，微调 {tuned_tnews}。每类 64 条，KUAKE-QIC（1 个种子）：{setfit_64}，"
            "微调 {tuned_64}",
        },
        {"labels": (11, 15), "per_label": (16, 64), "unlabelled": (1994, 2010)},
    ),
    Way(
        "setfit without data.txt",
        lambda facts: facts.per_label <= FEW,
        lambda facts: [setfit_command(facts)],
        {
            "en": "few labelled texts: few-shot/setfit.py; unlabelled texts in data.txt, one a line, would make it "
            "better",
            "zh": "标注少：few-shot/setfit.py；再把未标注的文本写进 data.txt（每行一条）会更好",
        },
        {
            "en": "test accuracy with 16 texts a label (5 seeds), without data.txt (and with --ngram_weight 0): "
            "KUAKE-QIC (11 labels) {alone_qic}, fine-tuning {tuned_qic}; tnews (15 labels) {alone_tnews}, fine-tuning "
            "{tuned_tnews}. With data.txt: {setfit_qic} and {setfit_tnews}",
            "zh": "每类 16 条、没有 data.txt（并且 --ngram_weight 0）的测试集准确率（5 个种子）：KUAKE-QIC（11 类）"
            "{alone_qic}，微调 {tuned_qic}；tnews（15 类）{alone_tnews}，微调 {tuned_tnews}。有 data.txt 时："
            "{setfit_qic} 和 {setfit_tnews}",
        },
        {"labels": (11, 15), "per_label": (16, 16)},
    ),
    Way(
        "both",
        lambda facts: facts.per_label < ENOUGH,
        lambda facts: [setfit_command(facts), train_command(facts, epochs=6)],
        {
            "en": "between few and enough labelled texts: run few-shot/setfit.py and train.py, and take what is "
            "better on dev.txt",
            "zh": "标注不多不少：few-shot/setfit.py 和 train.py 都运行，用开发集上更好的",
        },
        {
            "en": "KUAKE-QIC with 64 texts a label (1 seed, test accuracy): setfit.py {setfit_64}, fine-tuning "
            "{tuned_64}; with all 6,931 fine-tuning gets {tuned_all} (dev accuracy, 3 seeds). The sample data of this "
            "repository, 80 a label: fine-tuning {sample} on dev; setfit.py was not measured there",
            "zh": "KUAKE-QIC，每类 64 条（1 个种子，测试集准确率）：setfit.py {setfit_64}，微调 {tuned_64}；"
            "全部 6,931 条时微调 {tuned_all}（开发集准确率，3 个种子）。自带的示例数据，每类 80 条：微调在开发集上 "
            "{sample}，setfit.py 没有测过",
        },
        {"labels": (11, 11)},
    ),
    Way(
        "train",
        lambda facts: True,
        lambda facts: [train_command(facts)],
        {
            "en": "enough labelled texts: fine-tuning, train.py; train once more with --recipe strong behind the "
            "command, and another --output_dir, and take what is better on dev.txt",
            "zh": "标注足够：微调，train.py；在命令后加 --recipe strong（换一个 --output_dir）再训练一次，"
            "用开发集上更好的",
        },
        {
            "en": "KUAKE-QIC (11 labels, 6,931 texts, 630 a label on average): dev accuracy {tuned_all} "
            "(3 seeds), with --recipe strong {strong} (4 seeds, about twice the time); TF-IDF + LinearSVC {svc}",
            "zh": "KUAKE-QIC（11 类，6,931 条，平均每类 630 条）：开发集准确率 {tuned_all}（3 个种子），加 --recipe "
            "strong 是 {strong}（4 个种子，时间约两倍）；TF-IDF + LinearSVC {svc}",
        },
        {"labels": (11, 11), "per_label": (630, 630)},
    ),
)

# ---------------------------------------------------------------------------------------------------------- the words

WORDS = {
    "en": {
        "advice": "Advice: {}",
        "own": "  here: {}",
        "here": "{labels:,} labels; {per_label:,} training texts of the label in the middle ({fewest:,} to "
        "{most:,}); {unlabelled:,} unlabelled texts; {over_max_length:.1%} of the training texts are over "
        "--max_length",
        "measured": "  measured (%): {}",
        "outside": "  not measured: {}",
        "note": "  note: {}",
        "first": "  first, once: {}",
        "also": "  to compare on dev.txt: {}",
        "labels": "{own:,} labels; it was {measured}",
        "per_label": "{own:,} texts a label; it was {measured}",
        "unlabelled": "{own:,} unlabelled texts; it was {measured}",
        "range": "{} to {}",
        "long": "long texts: hardly any of those that were measured has more than 128 tokens ({long} of KUAKE-QIC); "
        "the command reads {length} tokens, which takes longer",
        "longer": "some texts are longer than the {most} tokens that the encoder can read: split them, or put what "
        "matters first",
        "empty": "data.txt is empty, so it has no part: put unlabelled texts there, one a line, and check again",
        "blank": "data.txt has blank lines, which setfit.py refuses: delete them, or let --fix do it",
        "source": "{}, {}",
        "and": " and ",
        "sources": " ({})",
    },
    "zh": {
        "advice": "建议：{}",
        "own": "  这份数据：{}",
        "here": "{labels:,} 个标签；居中的一个标签有 {per_label:,} 条训练文本（{fewest:,} 到 {most:,}）；"
        "未标注的文本 {unlabelled:,} 条；{over_max_length:.1%} 的训练文本超过 --max_length",
        "measured": "  依据（%）：{}",
        "outside": "  没有测过：{}",
        "note": "  注意：{}",
        "first": "  先运行一次：{}",
        "also": "  在开发集上比较：{}",
        "labels": "{own:,} 个标签；测的是 {measured} 个",
        "per_label": "每个标签 {own:,} 条；测的是 {measured} 条",
        "unlabelled": "未标注的文本 {own:,} 条；测的是 {measured} 条",
        "range": "{} 到 {}",
        "long": "长文本：测过的文本几乎没有超过 128 个 token 的（KUAKE-QIC 有 {long} 条）；命令读 {length} 个 token，"
        "需要更久",
        "longer": "有的文本超过编码器能读的 {most} 个 token：请拆开，或把要紧的话放在前面",
        "empty": "data.txt 是空的，没有用上：请写入未标注的文本，每行一条，再检查一次",
        "blank": "data.txt 有空行，setfit.py 会拒绝：请删去，或用 --fix",
        "source": "{} 第 {} 节",
        "and": "、",
        "sources": "（{}）",
    },
}


def cited(template, lang):
    """A sentence with its figures filled in, and their sources behind it."""
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name in FIGURES]
    sources, words = {}, WORDS[lang]
    for figure in map(FIGURES.get, names):
        readme = figure.readme if lang == "zh" else figure.readme.replace("README.md", "README_en.md")
        sources.setdefault(readme, {})[figure.section] = None
    shown = [words["source"].format(readme, words["and"].join(sections)) for readme, sections in sources.items()]
    values = {name: FIGURES[name].value for name in names}
    return template.format(**values) + words["sources"].format("; ".join(shown) if lang == "en" else "；".join(shown))


def outside(facts, way, lang):
    """What of the data is far from what was measured: list of sentences."""
    words, found = WORDS[lang], []
    for name, (least, most) in way.ranges.items():
        own = getattr(facts, name)
        if not least / NEAR <= own <= most * NEAR:
            measured = f"{least:,}" if least == most else words["range"].format(f"{least:,}", f"{most:,}")
            found.append(words[name].format(own=own, measured=measured))
    if facts.over_max_length > LONG_SHARE:
        found.append(words["long"].format(long=FIGURES["long"].value, length=facts.length))
    return found


def notes(facts, way, lang):
    """What else to know: list of sentences."""
    words, found = WORDS[lang], []
    if way.name != "train" and facts.has_data_file and not facts.unlabelled:
        found.append(words["empty"])
    if way.name.startswith(("setfit", "both")) and facts.unlabelled and facts.blank_lines:
        found.append(words["blank"])
    if facts.over_max_length > LONG_SHARE and facts.length == MAX_POSITIONS:
        found.append(words["longer"].format(most=MAX_POSITIONS))
    return found


def before(way, texts=()):
    """Commands to run once before the way's own: what is not installed, or not built yet.

    Args:
        way (Way): the way.
        texts (list[str]): files that an encoder has to be built from; none where ENCODER can read the data.
    """
    lines = [f"pip install -r {file}" for package, file in way.requirements.items() if find_spec(package) is None]
    if texts:
        lines.append(shlex.join(["python", "data/build_encoder.py", "--texts", *texts]))
    elif not (ROOT / ENCODER / "config.json").is_file():
        lines.append("python data/build_encoder.py")
    return lines


def texts_to_read(summary, facts):
    """The files of data that ENCODER cannot read, as a command in the repository's root has them; [] where it can."""
    if not UNREAD & {finding["kind"] for finding in summary["findings"]}:
        return []
    names = ("train.txt", "dev.txt", "data.txt")
    return [facts.path(name) for name in names if summary["files"].get(name, {}).get("samples")]


def advise(summary, lang="en"):
    """Which way to go.

    Args:
        summary (dict): of Check.summary().
        lang (str): en or zh.

    Returns:
        dict | None: JSON-ready: way (a name of WAYS), said, measured (with its sources), outside (sentences: where the
        data are not like what was measured), notes, first (commands to run once before) and commands, which run in
        the repository's root; None for data that train.py refuses.
    """
    if summary["errors"]:
        return None
    facts = facts_of(summary)
    way = next(way for way in WAYS if way.fits(facts))
    texts, commands = texts_to_read(summary, facts), way.commands(facts)
    if texts:
        commands = [[OWN_ENCODER if part == ENCODER else part for part in command] for command in commands]
    return {
        "way": way.name,
        "said": way.said[lang],
        "here": WORDS[lang]["here"].format(**dataclasses.asdict(facts)),
        "measured": cited(way.measured[lang], lang),
        "outside": outside(facts, way, lang),
        "notes": notes(facts, way, lang),
        "first": before(way, texts),
        "commands": [shlex.join(command) for command in commands],
    }


def advice_lines(advice, lang="en"):
    """What advise gives, as lines for the terminal; the command to run next is the last one."""
    words, (command, *others) = WORDS[lang], advice["commands"]
    yield words["advice"].format(advice["said"])
    yield words["own"].format(advice["here"])
    yield words["measured"].format(advice["measured"])
    for name, sentences in (("outside", advice["outside"]), ("note", advice["notes"]), ("first", advice["first"])):
        yield from map(words[name].format, sentences)
    yield from map(words["also"].format, others)
    yield f"next: {command}"
