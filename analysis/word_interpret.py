"""Which words of a text made the model predict its label, by four methods, and how far each can be trusted.

    cd analysis
    python word_interpret.py --device gpu --dataset_dir ../data --params_path ../checkpoint/ \\
        --interpret_input_file bad_case.txt --interpret_num 20 --method all

Written: --result_file into --dataset_dir, and --report, a page with the words coloured by their scores. What is
explained is the logit of the predicted class; a positive score speaks for it, a negative one against it.

- integrated_gradients (Sundararajan et al. 2017, arXiv 1703.01365): from [MASK] in place of every word to the text,
  trapezoidal rule. A text's scores sum to the difference of the logits, which is checked.
- gradient_shap (Lundberg and Lee 2017, arXiv 1705.07874; as expected gradients, Erion et al. 2021, arXiv 1906.10670):
  the same from many baselines, made of random tokens of the texts, at random points of the way.
- lime (Ribeiro et al. 2016, arXiv 1602.04938): a linear model of the logit on texts with words deleted at random.
- attention: what [CLS] attends to in the last layer, mean of the heads. A baseline; it has no sign.

Faithfulness (DeYoung et al. 2020, arXiv 1911.03429): how far the class's probability falls without the best words of a
text (comprehensiveness, higher is better), and with nothing but them (sufficiency, lower is better). As there, words
are deleted (see --remove_words) and the mean of several shares of words is taken; `random` are random orders.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from analysis.flags import for_model, next_command
from analysis.word_flags import parse_flags, read_input
from utils import exit_on_usage_error, format_table, write_lines


def main(argv=None):
    flags = parse_flags(argv, __doc__)
    labels, rows = read_input(flags)

    from analysis.attribution import explain_all, load  # needs paddle, which takes seconds
    from analysis.report import write_page
    from analysis.word_page import WORDS, case_parts, faithfulness_parts, result_lines

    explainer, cases = load(flags, labels, rows)
    scores, faithfulness = explain_all(explainer, cases, flags)
    print("\n".join(["Faithfulness:", *format_table(faithfulness)]))
    lines = list(result_lines(cases, labels, scores))
    write_lines(flags.dataset_dir, {flags.result_file: lines}, "--dataset_dir")
    said = WORDS[flags.lang]
    parts = [f"<h2>{said['faithfulness']}</h2>", *faithfulness_parts(faithfulness, len(cases), flags.lang)]
    parts += [f"<h2>{said['texts']}</h2>", *case_parts(cases, labels, scores, flags.lang)]
    write_page(flags.report, said["title"].format(flags.params_path), parts, flags.lang)
    print(f"{len(cases):,} texts explained in {flags.dataset_dir / flags.result_file} and {flags.report}")
    best = faithfulness[0]["method"]
    print("No method is better than random here." if best == "random" else f"Trust {best} most: it leads the table.")
    texts_flag = ("--interpret_input_file", flags.interpret_input_file)
    command = next_command("analysis/sent_interpret.py", *for_model(flags), *texts_flag)
    print(f"Next, the training samples behind these predictions: {command}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
