"""--recipe: what is typed beside it wins, what is printed, and what is said where a part of it cannot be."""

from dataclasses import fields

import pytest

import train
from core import recipe_flags
from core.arguments import load_argument_classes, parse_arguments
from core.named_recipes import (
    BELONGS_TO,
    naming_what_recipe_sets,
    parse_with_recipe,
    recipe_line,
    switched_off,
    typed,
    value_of,
)
from core.recipe_flags import NAMED_RECIPES, RecipeArguments
from core.stage_flags import StageArguments
from utils import UsageError

# A recipe with flags of both groups, some of which belong to others.
LARGE = {
    "ngram_features": True,
    "rdrop_alpha": 4.0,
    "adversarial": "fgm",
    "adversarial_epsilon": 0.5,
    "do_pretrain": True,
    "pretrain_epochs": 10,
    "num_teachers": 3,
    "distill_temperature": 2.0,
}


@pytest.fixture(autouse=True)
def large(monkeypatch):
    monkeypatch.setitem(NAMED_RECIPES, "large", LARGE)


def parsed(*flags):
    """RecipeArguments, StageArguments and PaddleNLP's flags."""
    parser_class, light = load_argument_classes()

    def parse(defaults):
        return parse_arguments(parser_class, (*train.FLAGS, light), list(map(str, flags)), "", defaults)

    groups, defaults = parse_with_recipe(parse)
    assert groups[3:5] == parse(defaults)[3:5]
    return groups[3:]


def set_flags(recipe, stages):
    """Those that are not at their defaults, but for --recipe itself."""
    return {
        item.name: getattr(group, item.name)
        for group in (recipe, stages)
        for item in fields(group)
        if getattr(group, item.name) != item.default and item.name != "recipe"
    }


@pytest.mark.parametrize("name", ["plain", "strong", "large"])
def test_it_is_the_flags_typed_in_full(name):
    values = NAMED_RECIPES[name]
    by_name, by_hand = (
        parsed("--do_train", "--recipe", name),
        parsed("--do_train", *" ".join(typed(*item) for item in values.items()).split()),
    )
    assert set_flags(*by_name[:2]) == set_flags(*by_hand[:2]) == values
    assert by_name[1:] == by_hand[1:]


def test_a_recipe_sets_flags_of_recipes_and_stages_alone():
    """With values of their types, which are neither the defaults nor in need of a flag that is off."""
    for name, values in NAMED_RECIPES.items():
        own = [RecipeArguments(), StageArguments()]
        for flag, value in values.items():
            default = value_of(flag, *own)
            assert flag != "recipe" and value != default and (default is None or type(value) is type(default)), name
            assert BELONGS_TO.get(flag, flag) in values


@pytest.mark.parametrize(
    "flags, lost, line",
    [
        ([], "", "--ngram_features True --rdrop_alpha 1.0"),
        (["--rdrop_alpha", 0], "rdrop_alpha", "--ngram_features True; given by you: --rdrop_alpha 0.0 instead of 1.0"),
        (["--rdrop_alpha=0"], "rdrop_alpha", "--ngram_features True; given by you: --rdrop_alpha 0.0 instead of 1.0"),
        (
            ["--ngram_features", "False", "--rdrop_alpha", "2"],
            "ngram_features rdrop_alpha",
            "no flag; given by you: --ngram_features False instead of True, --rdrop_alpha 2.0 instead of 1.0",
        ),
        (["--rdrop_alpha", "1", "--ema_decay", "0.9"], "", "--ngram_features True --rdrop_alpha 1.0"),
    ],
)
def test_what_is_typed_wins(flags, lost, line, monkeypatch):
    monkeypatch.setitem(NAMED_RECIPES, "strong", {"ngram_features": True, "rdrop_alpha": 1.0})
    recipe, stages, _ = parsed("--recipe", "strong", *flags, "--do_train")
    alone = parsed(*flags, "--do_train")[0]
    for name, value in NAMED_RECIPES["strong"].items():
        expected = getattr(alone, name) if name in lost.split() else value
        assert getattr(recipe, name) == expected
    assert recipe_line(recipe, stages) == f"--recipe strong sets {line}"


def test_what_is_typed_in_a_file_wins_too(tmp_path, monkeypatch):
    """PaddleNLP's parser reads flags from train.args beside train.py."""
    (tmp_path / "train.args").write_text("--recipe large --rdrop_alpha 0 --do_train")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "train.py")])
    recipe, stages, _ = parsed("--pretrain_epochs", "2")
    assert set_flags(recipe, stages) == {
        name: value for name, value in LARGE.items() if name not in ("rdrop_alpha", "pretrain_epochs")
    }
    assert recipe_line(recipe, stages).endswith(
        "given by you: --rdrop_alpha 0.0 instead of 4.0, --pretrain_epochs 2 instead of 10"
    )


def test_what_is_switched_off_takes_its_parts_with_it():
    off = "--do_train --recipe large --do_pretrain False --num_teachers 0 --adversarial none".split()
    recipe, stages, args = parsed(*off)
    assert set_flags(recipe, stages) == {"ngram_features": True, "rdrop_alpha": 4.0}
    args.metric_for_best_model = "accuracy"
    train.check_flags(*parsed_all(off), args)
    assert recipe_line(recipe, stages) == (
        "--recipe large sets --ngram_features True --rdrop_alpha 4.0; given by you: --adversarial none instead of "
        "fgm, --do_pretrain False instead of True, --num_teachers 0 instead of 3"
    )
    # What is typed for it is not taken away: it is refused.
    *_, stages, args = parsed(*off, "--pretrain_epochs", "3")
    assert stages.pretrain_epochs == 3


def parsed_all(flags):
    parser_class, light = load_argument_classes()
    groups, _ = parse_with_recipe(
        lambda defaults: parse_arguments(parser_class, (*train.FLAGS, light), flags, "", defaults)
    )
    return [*groups[:2], *groups[3:5]]


def test_none_is_no_recipe():
    recipe, stages, _ = parsed("--do_train")
    assert recipe_line(recipe, stages) is None and set_flags(recipe, stages) == {}
    recipe, stages, _ = parsed("--do_train", "--recipe", "plain")
    assert recipe_line(recipe, stages) == "--recipe plain sets no flag" and set_flags(recipe, stages) == {}


def refusal(*flags):
    with pytest.raises(UsageError) as error:
        train.parse_all(list(flags))
    return str(error.value)


def test_refusals():
    assert "--recipe strnog: not known; use plain or strong or large" in refusal("--do_train", "--recipe", "strnog")
    for name in ("plain", "strong"):
        text = refusal("--do_eval", "--recipe", name)
        assert "--recipe: for a training; add --do_train, or leave it out" in text.split("\n")
    assert "--recipe --ema_decay: for a training" in refusal("--do_eval", "--recipe", "strong", "--ema_decay", "0.9")


def test_a_part_that_cannot_be_is_named(monkeypatch):
    static = ["--do_train", "--to_static", "True", "--recipe", "strong"]
    text = refusal(*static)
    assert (
        "--ngram_features does not work with --to_static True; leave out one of them (--recipe strong sets "
        "--ngram_features True; --ngram_features False switches that part off)"
    ) in text.split("\n")
    assert "ngram_features" not in refusal(*static, "--ngram_features", "False", "--ema_decay", "1")
    # Typed beside the recipe with another value, it is the user's.
    text = refusal(*static, "--ngram_features", "False", "--rdrop_alpha", "-1")
    assert "--rdrop_alpha -1.0: must be" in text and "--recipe" not in text


def test_refusals_that_come_later_name_it_too():
    flags = RecipeArguments(recipe="large", **{k: v for k, v in LARGE.items() if hasattr(RecipeArguments, k)})
    stages = StageArguments(**{k: v for k, v in LARGE.items() if hasattr(StageArguments, k)})
    with pytest.raises(UsageError) as error, naming_what_recipe_sets(flags, stages):
        raise UsageError("--rdrop_alpha: this model has no dropout; leave it out\n--max_length 3: --do_pretrain no")
    assert str(error.value) == (
        "--rdrop_alpha: this model has no dropout; leave it out (--recipe large sets --rdrop_alpha 4.0; --rdrop_alpha "
        "0.0 switches that part off)\n--max_length 3: --do_pretrain no (--recipe large sets --do_pretrain True; "
        "--do_pretrain False switches that part off)"
    )
    with pytest.raises(UsageError) as error, naming_what_recipe_sets(RecipeArguments(), StageArguments()):
        raise UsageError("--rdrop_alpha: no")
    assert str(error.value) == "--rdrop_alpha: no"
    assert switched_off("pooling") == "--pooling cls" and switched_off("num_teachers") == "--num_teachers 0"


def test_too_many_labels(monkeypatch, data_dir, tmp_path):
    monkeypatch.setattr(recipe_flags, "MAX_NGRAM_LABELS", 2)
    command = (
        f"--do_train --data_dir {data_dir} --output_dir {tmp_path / 'out'} --evaluation_strategy no --recipe strong"
    )
    text = refusal(*command.split())
    assert "more than 2; give --ngram_features False" in text and "(--recipe strong sets --ngram_features True" in text
