"""train.py's --recipe: one flag that sets others, of recipes and of stages; nothing here needs paddle.

What the flag sets takes the place of those flags' defaults, so whatever is typed beside it wins, and the training is
the one that it would be with all of them typed.
"""

import contextlib
import re
from dataclasses import fields

from core.arguments import DEFAULTS
from core.recipe_flags import NAMED_RECIPES, RecipeArguments
from core.stage_flags import PARTS, StageArguments
from utils import UsageError

# A flag that a recipe may set -> the flag without which it means nothing.
BELONGS_TO = {
    "adversarial_epsilon": "adversarial",
    **{part: switch for switch, parts in PARTS.items() for part in parts},
}
# How a flag whose default is None is switched off; all others by their defaults.
OFF = {"ngram_features": False, "pooling": "cls"}


def parse_with_recipe(parse):
    """Parse the flags, --recipe's among them.

    Args:
        parse (Callable): of the flags' defaults, by name; gives the groups of flags, those of recipes, of stages and
            PaddleNLP's last.

    Returns:
        tuple[list, dict]: the groups, and the defaults that they were parsed with. A --recipe without --do_train, or
        with an unknown name, sets nothing: core.recipe_flags.recipe_problems refuses it.
    """
    groups = parse(DEFAULTS)
    *_, recipe_flags, stage_flags, args = groups
    values = dict(NAMED_RECIPES.get(recipe_flags.recipe, {})) if args.do_train else {}
    if not values:
        return groups, DEFAULTS
    *_, recipe_flags, stage_flags, args = parse({**DEFAULTS, **values})
    # What was switched off by hand takes with it what the recipe sets for it alone.
    values = {name: value for name, value in values.items() if not is_idle(name, recipe_flags, stage_flags)}
    groups = parse({**DEFAULTS, **values})
    return groups, {**DEFAULTS, **values}


def value_of(name, recipe_flags, stage_flags):
    """The value of a flag of either group."""
    return getattr(recipe_flags if hasattr(recipe_flags, name) else stage_flags, name)


def is_idle(name, recipe_flags, stage_flags):
    """Whether a flag means nothing because the one that it belongs to is off."""
    return name in BELONGS_TO and value_of(BELONGS_TO[name], recipe_flags, stage_flags) in (0, "none")


def typed(name, value):
    """A flag as one would type it."""
    return f"--{name} {value}"


def switched_off(name):
    """How a flag is switched off, as one would type it."""
    defaults = {item.name: item.default for group in (RecipeArguments, StageArguments) for item in fields(group)}
    value = OFF.get(name, defaults[name])
    return typed(name, "<a value of your own>" if value is None else value)


def recipe_line(recipe_flags, stage_flags):
    """What --recipe has set, in full, and what was given by the user instead; None without --recipe.

    Args:
        recipe_flags (RecipeArguments), stage_flags (StageArguments): from parse_with_recipe.
    """
    if recipe_flags.recipe is None:
        return None
    kept, given = [], []
    for name, value in NAMED_RECIPES[recipe_flags.recipe].items():
        own = value_of(name, recipe_flags, stage_flags)
        if own == value:
            kept.append(typed(name, value))
        elif not is_idle(name, recipe_flags, stage_flags):
            given.append(f"{typed(name, own)} instead of {value}")
    line = f"--recipe {recipe_flags.recipe} sets {' '.join(kept) or 'no flag'}"
    return line + (f"; given by you: {', '.join(given)}" if given else "")


@contextlib.contextmanager
def naming_what_recipe_sets(recipe_flags, stage_flags):
    """Let a refusal that is about a flag which --recipe has set say so, and how that part is switched off.

    Args:
        recipe_flags (RecipeArguments), stage_flags (StageArguments): from parse_with_recipe.

    Raises:
        UsageError: the same, with more words.
    """
    try:
        yield
    except UsageError as error:
        values = NAMED_RECIPES.get(recipe_flags.recipe, {})
        own = {name: value for name, value in values.items() if value_of(name, recipe_flags, stage_flags) == value}
        lines = [f"{line}{hint(line, recipe_flags.recipe, own)}" for line in str(error).split("\n")]
        raise UsageError("\n".join(lines)) from None


def hint(line, recipe, values):
    """What is to be said behind a line of a refusal."""
    named = [name for name in re.findall(r"--(\w+)", line) if name in values]
    parts = [
        f"{typed(name, values[name])}; {switched_off(name)} switches that part off" for name in dict.fromkeys(named)
    ]
    return f" (--recipe {recipe} sets {', and '.join(parts)})" if parts else ""
