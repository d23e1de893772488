"""The words of monitor.py's page in English and in Chinese; whoever fills in {} escapes it."""

WORDS = {
    "en": {
        "title": "Monitoring of {log}",
        "lead": "{log_texts} answers of {log} against {reference_texts} of {reference}.",
        "alarm": "Alarm: {names}",
        "quiet": "No alarm",
        "left_out_unreadable": "{number} lines of the log cannot be read, and are left out.",
        "left_out_other_export": "{number} lines of the log are answers of another export, and are left out.",
        "tests": "Has something changed?",
        "tests_how": "The p-values are those of all tests together (Holm): where nothing has changed and texts are "
        "drawn independently, at most {alpha} of all runs have one of {limit} or below. One text many times, such as "
        "a client's retries, is no independent draw and may alarm.",
        "test": "compared",
        "p_value": "p, all tests",
        "alone": "alone: {p}",
        "distance": "distance",
        "verdict": "",
        "is_alarm": "alarm",
        "is_quiet": "quiet",
        "not_tested": "not tested",
        "labels": "labels",
        "confidence": "confidence",
        "length": "length",
        "vocabulary": "vocabulary",
        "embedding": "vectors",
        "accuracy": "accuracy",
        "distances_how": "Distance, from 0 to 1: of the labels the share that would have to be another; of the "
        "confidence, length and vocabulary (how usual a text's words are) the largest gap between the two shares of "
        "texts up to a value; of the vectors their maximum mean discrepancy. A small distance with an alarm is a real "
        "but small change, as many texts show it.",
        "no_text": "one of the two has neither texts nor hashed words",
        "no_embedding": "vectors are not kept, and no --params_path reads both",
        "estimate": "How many answers are right?",
        "estimate_is": "Probably {estimate} % of the answers of the log (95 %: {low} to {high}); measured on the "
        "{samples} lines of the reference: {reference} %.",
        "estimate_how": "Estimated from the confidences, by what they mean on the reference; a confidence has to mean "
        "the same as before. The estimate is some points off where the labels' shares change much, and far too high "
        "where texts come that no label fits, or where the meaning of a label has changed. An alarm of the vocabulary "
        "is a reason to look at the texts themselves.",
        "other_texts": "This estimate is probably too high, interval and all: texts of another kind have come.",
        "other_shares": "This estimate may be some points off, more than its interval says: the labels' shares have "
        "changed.",
        "estimate_none": "Not estimated: {why}",
        "label": "label",
        "share_reference": "reference, %",
        "share_log": "log, %",
        "difference": "points",
        "reference": "reference",
        "log": "log",
        "texts_axis": "share of the texts, %",
        "confidence_axis": "confidence, %",
        "length_axis": "characters",
        "more_labels": "The {shown} of {total} labels with the largest differences.",
        "new_words": "Words that have become more frequent",
        "word": "word",
        "to_label": "Texts to label next",
        "to_label_how": "The answers to them are unsure, or their words are unlike those of the reference; the first "
        "{shown} of {total} in {path}.",
        "text": "text",
    },
    "zh": {
        "title": "{log} 的监测",
        "lead": "{log} 的 {log_texts} 个回答，与 {reference} 的 {reference_texts} 个相比。",
        "alarm": "警报：{names}",
        "quiet": "没有警报",
        "left_out_unreadable": "日志中有 {number} 行无法读取，没有计入。",
        "left_out_other_export": "日志中有 {number} 行是另一个导出模型的回答，没有计入。",
        "tests": "有变化吗？",
        "tests_how": "p 值是全部检验合在一起的（Holm）：什么都没变、文本相互独立时，"
        "最多 {alpha} 的运行会有不超过 {limit} 的 p 值。"
        "同一条文本出现许多次（例如客户端重试）不是独立的，可能引起警报。",
        "test": "比较",
        "p_value": "p（全部检验）",
        "alone": "单独：{p}",
        "distance": "距离",
        "verdict": "",
        "is_alarm": "警报",
        "is_quiet": "正常",
        "not_tested": "没有检验",
        "labels": "标签",
        "confidence": "置信度",
        "length": "长度",
        "vocabulary": "用词",
        "embedding": "向量",
        "accuracy": "准确率",
        "distances_how": "距离从 0 到 1：标签是须改成别的标签才能一致的比例；"
        "置信度、长度和用词（一条文本的词有多常见）是两边“不超过某个值的文本的比例”之间最大的差；向量是最大均值差异。有警报而距离很小，是真实但很小的变化，文本很多时就看得出来。",
        "no_text": "有一边既没有文本，也没有词的哈希",
        "no_embedding": "没有保存向量，也没有用 --params_path 读两边的文本",
        "estimate": "有多少回答是对的？",
        "estimate_is": "日志的回答中大约 {estimate} % 是对的（95 %：{low} 到 {high}）；"
        "在参考的 {samples} 条上实测：{reference} %。",
        "estimate_how": "由置信度估计，置信度的含义取自参考数据；前提是它的含义没有变。"
        "标签的比例变化很大时，估计会差几个点；"
        "来了哪个标签都不合适的文本，或者标签的含义变了，它就远远偏高。用词有警报时，应当看一看文本本身。",
        "other_texts": "来了另一种文本，这个估计很可能偏高，区间也是。",
        "other_shares": "标签的比例变了，这个估计可能差几个点，超出区间所说的。",
        "estimate_none": "没有估计：{why}",
        "label": "标签",
        "share_reference": "参考，%",
        "share_log": "日志，%",
        "difference": "差（点）",
        "reference": "参考",
        "log": "日志",
        "texts_axis": "文本的比例，%",
        "confidence_axis": "置信度，%",
        "length_axis": "字符数",
        "more_labels": "{total} 个标签中差别最大的 {shown} 个。",
        "new_words": "变得更常见的词",
        "word": "词",
        "to_label": "接下来值得标注的文本",
        "to_label_how": "对它们的回答没有把握，或者它们的用词与参考数据不像；{path} 中 {total} 条的前 {shown} 条。",
        "text": "文本",
    },
}
