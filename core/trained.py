"""Loading a classifier that is used as it was trained."""

from core.loading import load_model, note_missing_weights
from utils import UsageError


def load_trained(name, config, labels, *args, **options):
    """load_model, but a weight that the file lacks is an error: a head that is drawn anew answers at random.

    Args:
        name, config, labels, *args, **options: as of core.loading.load_model.

    Raises:
        UsageError: as there; weights are missing, or have another shape than the labels ask for.
    """
    missing = []
    with note_missing_weights(missing):
        model = load_model(name, config, labels, *args, **options)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UsageError(
            f"{name}: the weights lack {', '.join(missing[:3])}{more}, which would be random, so that there is "
            "nothing to evaluate, export or explain; save or download the model again, or train it with --do_train"
        )
    return model
