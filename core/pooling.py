"""An encoder with one vector a text, for sentence classifiers and dual encoders."""

import paddle

from core.loading import uses_token_types


class PooledEncoder(paddle.nn.Layer):
    """Token states of an encoder, and one vector a text made of them.

    Args:
        encoder (PretrainedModel): without a head; ERNIE-M and the like take no token types.
        pad_token_id (int): its tokens have no part in the mean.
        pooling (str): mean of all tokens, or cls: the first one.
    """

    base_model = None  # for core.export.first_token_only: here all tokens are read

    def __init__(self, encoder, pad_token_id, pooling="mean"):
        super().__init__()
        self.encoder, self.pad_token_id, self.pooling = encoder, pad_token_id, pooling
        self.token_types = uses_token_types(encoder)

    def pooled(self, input_ids, token_type_ids=None):
        """Float [batch, hidden] from int64 [batch, tokens]."""
        more = {"token_type_ids": token_type_ids} if self.token_types else {}
        states = self.encoder(input_ids, **more)
        if isinstance(states, tuple):  # ELECTRA and DistilBERT give the states alone
            states = states[0]
        if self.pooling == "cls":
            return states[:, 0]
        mask = (input_ids != self.pad_token_id).astype(states.dtype).unsqueeze(-1)
        return (states * mask).sum(axis=1) / mask.sum(axis=1)
