"""What train.py does to train: one stage after the other, each of which resumes."""

from core import pipeline
from core.named_recipes import recipe_line
from core.pretraining import pretrain
from core.pseudo_labels import train_rounds
from core.recipe_flags import COSTS
from core.teachers import train_teachers
from core.trainer import train_and_save
from core.unlabelled import is_pretrained


def train_in_stages(run, checkpoint):
    """Train as the stages' flags say, and leave the result in output_dir as a plain training does.

    Args:
        run (train.Run): not finished; with or without a stage.
        checkpoint (str | None): of the training in output_dir itself, see core.trainer.choose_checkpoint.

    Returns:
        ClassificationTrainer: with the trained model.
    """
    name, line = run.model_flags.model_name_or_path, recipe_line(run.recipe_flags, run.stage_flags)
    if line and run.args.should_log:
        cost = COSTS.get(run.recipe_flags.recipe)
        print(line + (f"\n  {cost}" if cost else ""), flush=True)
    if run.stage_flags.do_pretrain:
        if not is_pretrained(run.args, run.unlabelled.pretraining):
            pipeline.prepare(run, name)  # what it refuses is refused before the long training, not after it
        name = pretrain(run)
    if run.stage_flags.num_teachers:
        return train_teachers(run, name, checkpoint)
    if run.stage_flags.pseudo_labels:
        return train_rounds(run, name)
    trainer = pipeline.prepare(run, name, trains=True)
    train_and_save(trainer, checkpoint, run.data_flags.keep_optimizer)
    return trainer
