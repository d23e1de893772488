"""The words of a model card (core/card_text.py), in Chinese and English."""

import re

# Name -> both languages: a text, or the lines of a list, or texts by a code.
TEXT = {
    "title": ("文本分类模型说明（模型卡）", "Model card: a text classifier"),
    "other": ("[English](README_en.md)", "[中文](README.md)"),
    "what": (
        "把每条文本归入 {count} 个标签中的恰好一个。本文件由导出模型的程序写出：只写已知的和测过的，其余写明“未知”。"
        "您可以改动它：改过的文件不会被再次导出替换。",
        "Gives every text exactly one of {count} labels. This file was written by the "
        "program that exported the model: "
        "it says what is known and measured, and calls all else unknown. You may edit it: an edited file is not "
        "replaced by a later export.",
    ),
    "weights": (
        "说的是权重 `{digest}` 的导出；同一文件夹的 `export.json` 中 `weights` 不同的，就是另一个模型。",
        "It is about the export of the weights `{digest}`; where `weights` in the "
        "`export.json` beside it differs, that "
        "is another model.",
    ),
    "student": (
        "这是一个学生模型：{kind}，由 `{name}`（教师）蒸馏而来，学的是教师对各条文本给出的概率。",
        "It is a student: {kind}, distilled from `{name}` (the teacher), whose probabilities of each text it learnt.",
    ),
    "student_ngram": (
        "字符 n-gram（1 到 3 个字符，散列）的线性分类器，不含神经网络",
        "a linear classifier on hashed n-grams of 1 to 3 characters, without a neural network",
    ),
    "student_layers": (
        "教师的第 {layers} 层和它的分类层，再训练过",
        "the teacher's layers {layers} and its classifier, trained further",
    ),
    "runs_ngram": (
        '能读这个文件夹的：`core/predictor.py` 的 `Predictor(文件夹, format="ngram")`、`deploy/simple_serving` 和 '
        "`deploy/batch`（格式 `ngram`）；只需要 numpy。其中没有计算图，Taskflow 和 Triton 不能用。",
        'What reads this folder: `Predictor(folder, format="ngram")` of `core/predictor.py`, `deploy/simple_serving` '
        "and `deploy/batch` (format `ngram`), with numpy alone. It has no graph: Taskflow and Triton cannot use it.",
    ),
    "runs_layers": (
        "能读这个文件夹的：Taskflow、Triton、`core/predictor.py` 的 `Predictor(文件夹)`、`deploy/simple_serving` 和 "
        "`deploy/batch`；它同时是检查点，可以评估、继续训练或单独导出。",
        "What reads this folder: Taskflow, Triton, `Predictor(folder)` of `core/predictor.py`, "
        "`deploy/simple_serving` and `deploy/batch`; it is a checkpoint too, to evaluate, train on or export by "
        "itself.",
    ),
    "student_weights": (
        "教师的权重是 `{digest}`，也写在同一文件夹 `export.json` 的 `weights` 中；"
        "重新训练教师后，这个学生就是旧模型的。",
        "The teacher's weights are `{digest}`, which `weights` in the `export.json` beside it has too; once the "
        "teacher is trained again, this is an older model's student.",
    ),
    "learnt_made": (
        "学生从 {train} 条训练文本（不同的，不看标签）、{unlabelled} 条无标签文本和由这两者变出的 {made} 条文本学习，"
        "答案都由教师给出；没有见过开发集。",
        "The student learnt from {train} different training texts (without their labels), {unlabelled} unlabelled "
        "ones and {made} that were made from both, all answered by the teacher; it has not seen dev.",
    ),
    "learnt": (
        "学生从 {train} 条训练文本（不同的，不看标签）和 {unlabelled} 条无标签文本学习，答案都由教师给出。",
        "The student learnt from {train} different training texts (without their labels) and {unlabelled} unlabelled "
        "ones, all answered by the teacher.",
    ),
    "teacher": ("教师：", "Teacher: "),
    "of_teacher": ("教师的值", "the teacher's"),
    "agreement": (
        "学生给开发集 {share} 的文本与教师相同的标签。",
        "The student gives the teacher's label to {share} of dev's texts.",
    ),
    "together": ("与教师一起", "Together with the teacher"),
    "together_how": (
        "教师的导出文件夹中也有这个学生（`student/`）；`cascade` 让有把握的学生先答，`blend` 把两者的 logit 相加。"
        "数字是在开发集上交叉拟合的。",
        "The teacher's export folder holds this student too (`student/`): `cascade` lets it answer where it is sure "
        "enough, `blend` adds both logits. The figures are cross-fitted on dev.",
    ),
    "not_together": ("没有 `{format}`：{why}。", "There is no `{format}`: {why}."),
    "out_of_fold": ("准确率", "accuracy"),
    "model_alone": ("教师单独", "the teacher alone"),
    "student_answers": ("学生回答的", "the student answers"),
    "width": ("裁剪到宽度 {width}（{pruner}）。", "Pruned to the width {width} ({pruner})."),
    "use": ("1. 用途与限制（请填写）", "1. Intended use and limits (to be filled in)"),
    "fill": (
        [
            "用来做什么，谁来用：**（请填写）**",
            "不应用来做什么：**（请填写）**",
            "训练文本从哪里来，谁标注的，有没有个人信息：**（请填写）**",
            "答错的后果，由谁复核：**（请填写）**",
            "联系人：**（请填写）**",
        ],
        [
            "What it is for, and who uses it: **(please fill in)**",
            "What it must not be used for: **(please fill in)**",
            "Where the training texts come from, who labelled them, personal data in them: **(please fill in)**",
            "What a wrong answer leads to, and who looks at answers: **(please fill in)**",
            "Contact: **(please fill in)**",
        ],
    ),
    "data": ("2. 数据", "2. Data"),
    "split": ("部分", "split"),
    "samples": ("条数", "texts"),
    "labels_in": ("有样本的标签", "labels with texts"),
    "train": ("训练集", "training"),
    "dev": ("开发集", "dev"),
    "unknown": ("未知", "unknown"),
    "training": ("3. 训练", "3. Training"),
    "base": ("起始模型：", "Base model: "),
    "chain": ("依次由这些模型接着训练而来：{names}", "trained on from these models, one from the next: {names}"),
    "flags": ("参数（不写的为默认值）：", "Flags (the others at their default): "),
    "compression": ("之后的裁剪与量化：", "The compression that followed: "),
    "no_training": (
        "未知：模型文件夹中没有 `run.json`，不知道它是怎样训练的。",
        "Unknown: the model's folder has no `run.json` that says how it was trained.",
    ),
    "metrics": ("4. 在开发集上的得分", "4. Scores on dev"),
    "metric": ("得分", "score"),
    "value": ("值", "value"),
    "interval": ("95 % 区间", "95 % interval"),
    "accuracy": ("准确率", "accuracy"),
    "macro_precision": ("宏平均精确率", "macro precision"),
    "macro_recall": ("宏平均召回率", "macro recall"),
    "macro_f1": ("宏平均 F1", "macro F1"),
    "how": (
        "模型本身（导出之前）在开发集 {samples} 条文本上的得分；准确率、各类的精确率和召回率的区间是 Wilson 区间，"
        "F1 和宏平均的是自助法（bootstrap）重抽文本 2,000 次的区间。总是回答最常见的标签，准确率是 {common}。",
        "The model itself (before the export) on the {samples} texts of dev; the intervals of the accuracy and of "
        "each label's precision and recall are Wilson's, those of F1 and the macro averages the bootstrap's, from "
        "2,000 draws of texts. To answer always with the most frequent label has an accuracy of {common}.",
    ),
    "no_scores": ("未知：导出时没有用开发集评估（{why}）。", "Unknown: dev was not evaluated at the export ({why})."),
    "other_formats": (
        "INT8 等格式的准确率见第 6 节。",
        "For the accuracy of INT8 and other formats see section 6.",
    ),
    "by_dev": (
        {
            "best": "轮次（检查点）由开发集选出，因此上面的得分略偏高",
            "stop": "训练何时停止由开发集决定",
            "adjust": "分类层偏置的调整强度由开发集选出",
            "rounds": "用哪一轮的伪标签由开发集决定",
            "widths": "裁剪训练中保留哪一次评估由开发集选出",
            "weights": "各部分的权重在开发集上拟合，因此上面的得分略偏高",
            "teacher": "教师的训练用开发集选择过，学生的得分因此也略偏高",
        },
        {
            "best": "dev chose the epoch (the checkpoint), so that the scores above are a little too high",
            "stop": "dev decided when the training stopped",
            "adjust": "dev chose the strength of the adjustment of the classifier's bias",
            "rounds": "dev decided which round of pseudo labels is used",
            "widths": "dev chose which evaluation of the pruning is kept",
            "weights": "the parts' weights were fitted on dev, so that the scores above are a little too high",
            "teacher": "the teacher's training chose by it, so that its student's scores are a little too high too",
        },
    ),
    "dev_used": ("**开发集参与了什么：**{what}。", "**What dev had a part in:** {what}."),
    "dev_unused": (
        "训练本身没有用开发集选择什么；如果您用它比较过几次训练，得分仍会略偏高。",
        "The training itself chose nothing by dev; if you compared several trainings "
        "by it, the scores are a little too "
        "high all the same.",
    ),
    "dev_unknown": (
        "不知道训练时是否用这份开发集选过轮次；如果是，得分略偏高。",
        "Whether the training chose its epoch by this dev set is not known; if so, the scores are a little too high.",
    ),
    "no_test": (
        "没有用过另外的测试集；要知道在真实文本上有多准，请用训练和选择都没有见过的文本评估。",
        "No separate test set was used; to know how good it is on real texts, evaluate it on some that neither the "
        "training nor a choice has seen.",
    ),
    "classes": ("5. 逐类得分", "5. Scores by label"),
    "label": ("标签", "label"),
    "in_train": ("训练集条数", "training texts"),
    "in_dev": ("开发集条数", "dev texts"),
    "precision": ("精确率", "precision"),
    "recall": ("召回率", "recall"),
    "f1": ("F1", "F1"),
    "first": (
        "只列出开发集中样本最多的 {shown} 个标签（共 {all} 个）；全部见 `analysis/evaluate.py`。",
        "Only the {shown} labels with the most texts in dev of all {all}; `analysis/evaluate.py` writes all of them.",
    ),
    "few": (
        "开发集中不足 {least} 条的标签有 {count} 个，它们的得分说明不了多少。",
        "{count} labels have fewer than {least} texts in dev: their scores say little.",
    ),
    "confused": ("最常混淆：{pairs}。", "Most often confused: {pairs}."),
    "pair": ("{true} 被答成 {predicted}（{count} 条）", "{true} answered as {predicted} ({count} texts)"),
    "formats": ("6. 格式、大小与速度", "6. Formats, sizes and speed"),
    "format": ("格式", "format"),
    "file": ("文件", "file"),
    "size": ("大小（MB）", "MB"),
    "dev_accuracy": ("开发集准确率", "dev accuracy"),
    "same": ("与模型相同的标签", "same label as the model"),
    "ms": ("每条毫秒", "ms a text"),
    "speed": (
        "速度是导出时在开发集上测的一次，不含分词，按长度排序、每批 32 条，{threads} "
        "个线程，{cpu}；别的机器会不同，同时有别的"
        "程序在运行时会偏慢。",
        "The times are one measurement on dev at the export: without tokenising, sorted by length, 32 texts a batch, "
        "threads: {threads}, {cpu}; another machine differs, and other programs that run make it slower.",
    ),
    "no_speed": (
        "准确率和速度未知：导出时没有比较过。",
        "Accuracy and speed unknown: nothing was compared at the export.",
    ),
    "not_exact": (
        "`{format}` 与模型的标签 {share} 相同，不是同一个模型的精确答案。",
        "`{format}` gives the model's label to {share} of the texts: its answers are not exactly the model's.",
    ),
    "calibration": ("7. 概率与把握", "7. Probabilities and how sure they are"),
    "calibrated": (
        "{divided}温度 {temperature}，它在开发集 {samples} 条文本上拟合。校准误差 {error_before} → {error_after}，"
        "对数损失 {loss_before} → {loss_after}（每一半用另一半的温度）。",
        "The logits {divided} divided by the temperature {temperature}, fitted on {samples} texts of dev. "
        "Calibration error {error_before} -> {error_after}, log loss {loss_before} -> {loss_after} (each half with "
        "the temperature of the other).",
    ),
    "in_graphs": ("图中的 logit 除以", "in the graphs are"),
    "in_file": ("文件中的 logit 已除以", "of the file are"),
    "not_calibrated": ("概率没有用温度校准：{why}。", "The probabilities have no temperature: {why}."),
    "no_calibration": ("概率是否可信：未知。", "Whether the probabilities can be relied on is unknown."),
    "promised": ("要达到的准确率", "wanted accuracy"),
    "threshold": ("置信度至少", "least confidence"),
    "share": ("能回答的文本", "texts answered"),
    "reached": ("其中答对", "of these, right"),
    "by_label": ("另有承诺的标签数", "labels with one of their own"),
    "promises": (
        "置信度不低于阈值的回答，在与开发集同类的文本上至少这样准（把握约 {sure}，Clopper-Pearson 单侧下限）；"
        '`Predictor.classify(texts, min_confidence="accuracy:0.95")` 用这些阈值。',
        "Answers whose confidence is at least the threshold are right so often on "
        "texts like dev's (about {sure} sure, "
        "the lower end of a one-sided Clopper-Pearson interval); `Predictor.classify(texts, "
        'min_confidence="accuracy:0.95")` uses these thresholds.',
    ),
    "no_promises": (
        "没有可以承诺的准确率：开发集太小，或模型常常答错。",
        "No accuracy can be promised: dev is too small, or the model is too often wrong.",
    ),
    "conformal": (
        "标签集合含有正确标签的可能为 {share} 时，平均 {size} 个标签，{single} 的文本只有一个。",
        "Sets of labels that hold the right one in {share} of the cases have {size} "
        "labels on average, and one alone for "
        "{single} of the texts.",
    ),
    "versions": ("8. 版本", "8. Versions"),
    "length": ("每条文本保留 {count} 个 token。", "{count} tokens of a text are kept."),
    "length_ngram": ("读每条文本的前 {count} 个字符。", "The first {count} characters of a text are read."),
    "licence": ("9. 许可证", "9. Licence"),
    "stated": (
        "起始模型 `{name}` 的许可证：{licence}（写在它的文件夹的 `{file}` 中）。",
        "Licence of the base model `{name}`: {licence} (so its folder's `{file}` says).",
    ),
    "why_no_licence": (
        {
            "name": "起始模型 `{name}` 的许可证未知：它不在本地的文件夹里。",
            "gone": "起始模型 `{name}` 的许可证未知：它的文件夹已不在，或已被这次训练的结果取代。",
            "changed": "起始模型 `{name}` 的许可证未知：它的文件夹里现在是别的权重。",
            "silent": "起始模型 `{name}` 的许可证未知：它的文件夹没有写。",
            "unknown": "起始模型和它的许可证未知。",
        },
        {
            "name": "The licence of the base model `{name}` is unknown: it is in no local folder.",
            "gone": "The licence of the base model `{name}` is unknown: its folder is gone, or holds this training's "
            "result.",
            "changed": "The licence of the base model `{name}` is unknown: its folder holds other weights now.",
            "silent": "The licence of the base model `{name}` is unknown: its folder does not say.",
            "unknown": "The base model and its licence are unknown.",
        },
    ),
    "ask": ("请向它的作者确认。", "Ask whoever made it."),
    "yours": (
        "这个模型和训练数据的许可证：**（请填写）**",
        "Licence of this model and of the training data: **(please fill in)**",
    ),
}

# Reasons that export.json and messages give in English -> Chinese.
REASONS = (
    (r"there is no (\S+) to fit a temperature on.*", r"没有 \1，无法拟合"),
    (r"there is no (\S+)", r"没有 \1"),
    (r"(\S+) has other labels than the model.*", r"\1 的标签与模型的不同"),
    (
        r"dev has (\d+) samples? of (\d+) labels?; it takes (\d+).*",
        r"开发集有 \1 条、\2 个标签，至少要 \3 条、2 个标签",
    ),
    (r"on the half of dev that it was not fitted on.*", "换一半开发集检验时，温度没有好处"),
    (r"a temperature is fitted in one process only.*", "多进程导出时不拟合温度"),
    (r"dev has (\d+) samples, and a (?:threshold|weight) takes (\d+)", r"开发集有 \1 条，至少要 \2 条"),
    (
        r"at no threshold the two together lose (\S+) points or less against the model alone",
        r"没有一个阈值能使两者一起比教师单独时最多低 \1 个百分点",
    ),
    (
        r"on dev it is not surely more accurate: (\S+) against (\S+) of the model alone, by chance with p = (\S+)",
        r"在开发集上不能肯定更准：\1，教师单独 \2，偶然如此的概率 p = \3",
    ),
    (r"no dev data, or several processes", "没有开发集，或是多进程导出"),
)


class Words:
    """TEXT in one language: words("name", **values)."""

    def __init__(self, language):
        self.place = ("zh", "en").index(language)

    def __call__(self, name, /, **values):
        text = TEXT[name][self.place]
        return text.format(**values) if isinstance(text, str) else text

    def reason(self, text):
        """A message in this language, where it is one of REASONS, without the folders of the paths in it."""
        text = without_folders(text)
        for pattern, chinese in REASONS if self.place == 0 else ():
            if re.fullmatch(pattern, text):
                return re.sub(pattern, chinese, text)
        return text


def without_folders(text):
    """A message without the folders of the paths in it: a card is read elsewhere."""
    return re.sub(r"(?<!\S)[^\s()]*[/\\](?=[^\s/\\])", "", text)
