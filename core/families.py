"""The kinds of models that are supported: what PaddleNLP calls them, and which must be told to mask padding."""

import functools

from utils import UsageError

# model_type in config.json, which is PaddleNLP's folder too -> how the family's class names begin. In each of them a
# text's answer can be kept free of the padding beside it. Not so in PaddleNLP's others: BigBird, Nystromformer,
# MobileBERT, GPT and XLM take no mask that does it, ConvBERT's convolutions and FNet's Fourier transform none at all;
# XLNet, BART and Funnel were not tried; RemBERT cannot be exported, and NeZha's default config has no model.
FAMILIES = {
    "ernie": "Ernie",
    "bert": "Bert",
    "roberta": "Roberta",
    "ernie_m": "ErnieM",
    "albert": "Albert",
    "electra": "Electra",
    "distilbert": "DistilBert",
    "ernie_gram": "ErnieGram",
    "megatronbert": "MegatronBert",
    "mpnet": "MPNet",
    "ppminilm": "PPMiniLM",
    "roformer": "RoFormer",
    "roformerv2": "RoFormerv2",
    "skep": "Skep",
    "squeezebert": "SqueezeBert",
    "tinybert": "TinyBert",
}

# The other families mask their config's padding id themselves. These do not: ERNIE-M looks for id 0, where its padding
# is id 1; ALBERT and SqueezeBERT mask nothing.
MASK_NOTHING = ("ernie_m", "albert", "squeezebert")


class MaskedPadding:
    """Mixed into an encoder: no token attends to padding. All inputs but the first are given by name."""

    def forward(self, input_ids=None, **options):
        return self.plain_forward(input_ids, **with_mask(options, input_ids, self.config.pad_token_id))


def with_mask(options, input_ids, pad_token_id):
    """The options with attention_mask, int64 [batch, tokens], 0 at padding, where they have none."""
    # No assignment inside an `if`: Paddle's conversion to a static graph loses it.
    given = options.get("attention_mask") is not None or input_ids is None
    return options if given else {**options, "attention_mask": (input_ids != pad_token_id).astype("int64")}


@functools.cache
def masked_class(encoder_class):
    content = {"plain_forward": encoder_class.forward, "__module__": encoder_class.__module__}
    return type(encoder_class)(encoder_class.__name__, (MaskedPadding, encoder_class), content)


def mask_padding(model):
    """Make a model mask its padding where PaddleNLP's own code does not, in training and in what is exported.

    Args:
        model (PretrainedModel): with or without a head; changed in place.

    Returns:
        PretrainedModel: the same.

    Raises:
        UsageError: answers of this family would depend on the texts beside one, whatever is done.
    """
    encoder = model.base_model
    family = model.config.model_type
    if family not in FAMILIES:
        raise unsupported_family(family)
    if family in MASK_NOTHING and not isinstance(encoder, MaskedPadding):
        encoder.__class__ = masked_class(type(encoder))
    return model


def unsupported_family(family):
    """The error for a model of another kind."""
    return UsageError(
        f"models of type {family} are not supported, since their answers depend on the texts beside one, or PaddleNLP "
        f"has no classifier of the kind; use one of {', '.join(FAMILIES)}"
    )
