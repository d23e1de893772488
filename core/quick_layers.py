"""A training step of Transformer layers with few passes over memory, for CPUs.

Paddle 2.6 computes its matrix products on a CPU about as fast as it can, and the rest slowly: one thread adds a bias,
sums a bias' gradient, draws a dropout mask or goes back through LayerNorm at a tenth of the memory's speed. Here a
whole layer is one operation whose gradient is written by hand: the products are Paddle's, what lies between them is
done in place on the same memory by NumPy. The gradients are Paddle's to the last digits of float32.

Dropout masks come from a NumPy generator that is seeded from Paddle's for each layer and step, so all that fixes
Paddle's randomness fixes this one's.
"""

import ctypes
import functools
import math

import numpy as np
import paddle
from paddle import _C_ops
from paddle.autograd import PyLayer
from paddle.base import core as paddle_core
from paddle.base.framework import _dygraph_tracer
from paddle.nn import functional as F
from paddle.nn.layer.transformer import _convert_attention_mask

LEVELS = 1 << 16  # of a dropout's probability, which 16 random bits decide


def make_quick(model):
    """Let the encoder layers of a model train quickly; all that does not fit is computed as before.

    Of the last layer's output, the first token of a text is computed alone where the model reads no other, and 0
    stands for the rest.

    Args:
        model (paddle.nn.Layer): changed in place.

    Returns:
        list[paddle.nn.Layer]: the layers, for make_plain.
    """
    layers = [layer for layer in model.sublayers() if type(layer) is paddle.nn.TransformerEncoderLayer]
    layers = [layer for layer in layers if "forward" not in vars(layer)]
    last = layers[-1] if layers and reads_first_token_only(model, layers[-1]) else None
    for layer in layers:
        # Not by an assignment: PaddleNLP wraps what is assigned to these layers.
        vars(layer)["forward"] = functools.partial(_forward, layer, layer is last)
    return layers


def reads_first_token_only(model, layer):
    """Whether a classifier's answer stays the same, to the bit, where a layer's output is 0 behind the first token."""
    config = getattr(model, "config", None)
    if getattr(config, "pad_token_id", None) is None or getattr(config, "num_labels", None) is None:
        return False

    def first_alone(layer, inputs, output):
        return paddle.concat([output[:, :1], paddle.zeros_like(output[:, 1:])], axis=1)

    ids, was_training = paddle.full([2, 4], config.pad_token_id + 1, "int64"), model.training
    model.eval()
    try:
        with paddle.no_grad():
            before = model(ids)
            hook = layer.register_forward_post_hook(first_alone)
            try:
                after = model(ids)
            finally:
                hook.remove()
    finally:
        model.train() if was_training else model.eval()
    return isinstance(before, paddle.Tensor) and np.array_equal(before.numpy(), after.numpy())


def make_plain(layers):
    """Take back what make_quick did to these layers."""
    for layer in layers:
        del vars(layer)["forward"]  # the class's is there again


def _forward(layer, first_only, src, src_mask=None, *more, **options):
    """TransformerEncoderLayer.forward, which see: float32 [batch, tokens, hidden] of the same."""
    if any(value is not None and value is not False for value in (*more, *options.values())):  # cache, attentions
        return type(layer).forward(layer, src, src_mask, *more, **options)
    mask = _convert_attention_mask(src_mask, src.dtype)
    parts = _parts(layer)
    weights = [weight for part in parts for weight in (part.weight, part.bias)]
    if not _fits(layer, parts, src, mask, weights):
        return type(layer).forward(layer, src, src_mask, *more, **options)
    # Whoever listens to a layer wants all of it.
    return _Layer.apply(src, mask, layer, first_only and not layer._forward_post_hooks, *weights)


def _parts(layer):
    """The parts of a layer that have weights: query, key, value, output; the two of the feed-forward; the norms."""
    attention = layer.self_attn
    linears = attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj, layer.linear1, layer.linear2
    return (*linears, layer.norm1, layer.norm2)


def _fits(layer, parts, src, mask, weights):
    """Whether a call is a plain training step of a layer as BERT has it."""
    attention = layer.self_attn
    return (
        layer.training
        and paddle.is_grad_enabled()
        and not src.stop_gradient
        and (mask is None or mask.stop_gradient)
        and _dygraph_tracer()._amp_level == paddle_core.AmpLevel.O0
        and not layer.normalize_before
        and layer.activation is F.gelu
        and not layer.dropout.p  # between the two linear layers: BERT has none there
        and type(attention) is paddle.nn.MultiHeadAttention
        and all(type(part) is paddle.nn.Linear for part in parts[:6])
        and not any(part._forward_pre_hooks or part._forward_post_hooks for part in (*parts, attention))
        and not any(weight is None or weight.stop_gradient for weight in weights)
        and src.is_contiguous()
        and all(tensor.dtype == paddle.float32 and tensor.place.is_cpu_place() for tensor in (src, *weights))
    )


class _Layer(PyLayer):
    """A post-norm layer: attention, dropout, residual, LayerNorm; GELU between two products, and the same again.

    Arrays are [batch * tokens, features], in attention [batch, heads, tokens, …]. Keys and values are of all tokens;
    what is computed for the first of a text alone, if asked for, is all else.
    """

    @staticmethod
    def forward(ctx, x, mask, layer, first_only, wq, bq, wk, bk, wv, bv, wo, bo, w1, b1, w2, b2, g1, n1, g2, n2):
        batch, tokens, hidden = x.shape
        heads, attention = layer.self_attn.num_heads, layer.self_attn
        random = np.random.SFC64(int(paddle.randint(0, 2**31 - 1, [1])))
        rows = x.reshape([batch * tokens, hidden])
        asked = paddle.to_tensor(view(x)[:, 0]) if first_only else rows
        scale = np.float32(attention.head_dim**-0.5)
        q = linear(asked, wq, bq)
        view(q)[...] *= scale
        q, k, v = (_split(part, batch, heads) for part in (q, linear(rows, wk, bk), linear(rows, wv, bv)))
        scores = paddle.matmul(q, k, transpose_y=True)
        if mask is not None:
            view(scores)[...] += mask.numpy()[:, :, :1] if first_only else mask.numpy()
        chances = _in_place("softmax", scores, -1)
        kept = keep_mask(random, chances.shape, attention.dropout)
        weights = chances if kept is None else _product(chances, kept)
        context = _join(paddle.matmul(weights, v))
        first = linear(context, wo, bo)
        kept1 = keep_mask(random, first.shape, layer.dropout1.p)
        middle, normal1, inverse1 = _normalised(first, kept1, asked, g1, n1, layer.norm1._epsilon)
        inner = linear(middle, w1, b1)
        share = _in_place("erf", _product(inner, np.float32(math.sqrt(0.5))))
        shares = view(share)
        shares *= np.float32(0.5)
        shares += np.float32(0.5)
        active = _product(inner, shares)
        second = linear(active, w2, b2)
        kept2 = keep_mask(random, second.shape, layer.dropout2.p)
        out, normal2, inverse2 = _normalised(second, kept2, middle, g2, n2, layer.norm2._epsilon)
        ctx.heads, ctx.scale, ctx.shape, ctx.has_mask = heads, scale, x.shape, mask is not None
        ctx.attention = rows, asked, q, k, v, chances, kept, weights, context
        ctx.outer = kept1, normal1, inverse1, middle, inner, share, active, kept2, normal2, inverse2
        ctx.weights = wq, wk, wv, wo, w1, w2, g1, g2
        if not first_only:
            return out.reshape(x.shape)
        full = paddle.zeros(x.shape)
        view(full)[:, 0] = view(out)
        return full

    @staticmethod
    def backward(ctx, gradient):
        rows, asked, q, k, v, chances, kept, weights, context = ctx.attention
        kept1, normal1, inverse1, middle, inner, share, active, kept2, normal2, inverse2 = ctx.outer
        wq, wk, wv, wo, w1, w2, g1, g2 = ctx.weights
        batch, gradient = ctx.shape[0], gradient.contiguous()
        gradient = gradient.reshape(rows.shape) if asked is rows else paddle.to_tensor(view(gradient)[:, 0])
        d_second, d_g2, d_n2 = _normalised_back(gradient, normal2, inverse2, g2)
        d_middle, d_second = d_second, _dropped(d_second, kept2)
        d_active, d_w2, d_b2 = linear_back(active, w2, d_second)
        # GELU is x * share(x), with the normal distribution's share below x; its slope is share + x * density.
        density = _product(inner, view(inner))
        slope = view(density)
        slope *= np.float32(-0.5)
        slope += np.float32(-0.5 * math.log(2 * math.pi))
        slope = view(_in_place("exp", density))
        slope *= view(inner)
        slope += view(share)
        view(d_active)[...] *= slope
        d_more, d_w1, d_b1 = linear_back(middle, w1, d_active)
        view(d_middle)[...] += view(d_more)
        d_first, d_g1, d_n1 = _normalised_back(d_middle, normal1, inverse1, g1)
        d_asked, d_first = d_first, _dropped(d_first, kept1)
        d_context, d_wo, d_bo = linear_back(context, wo, d_first)
        d_context = _split(d_context, batch, ctx.heads)
        d_v = paddle.matmul(weights, d_context, transpose_x=True)
        d_scores = paddle.matmul(d_context, v, transpose_y=True)
        slopes, own = view(d_scores), view(chances)
        if kept is not None:
            slopes *= kept
        slopes -= np.einsum("bhqk,bhqk->bhq", slopes, own)[..., None]
        slopes *= own
        d_q = paddle.matmul(d_scores, k)
        view(d_q)[...] *= ctx.scale
        d_k = paddle.matmul(d_scores, q, transpose_x=True)
        d_more, d_wq, d_bq = linear_back(asked, wq, _join(d_q))
        view(d_asked)[...] += view(d_more)
        d_rows, d_wk, d_bk = linear_back(rows, wk, _join(d_k))
        d_more, d_wv, d_bv = linear_back(rows, wv, _join(d_v))
        total = view(d_rows)
        total += view(d_more)
        total[:: len(total) // len(view(d_asked))] += view(d_asked)
        found = [d_wq, d_bq, d_wk, d_bk, d_wv, d_bv, d_wo, d_bo, d_w1, d_b1, d_w2, d_b2, d_g1, d_n1, d_g2, d_n2]
        # One for each tensor that forward was given, which a missing mask is not.
        return (d_rows.reshape(ctx.shape), *[None] * ctx.has_mask, *found)


# -------------------------------------------------------------------------------------------------------------- parts


@functools.cache
def _memory(size):
    return ctypes.c_float * size


def view(tensor):
    """The memory of a float32 tensor on the CPU as an array of its shape, without a copy; the tensor must live on."""
    shape = tensor.shape
    return np.ndarray(shape, np.float32, _memory(math.prod(shape)).from_address(tensor.data_ptr()))


def keep_mask(random, shape, share):
    """What dropout multiplies by: 0 for about `share` of the places, 1 / (1 - share) elsewhere; None for no dropout.

    Args:
        random (np.random.BitGenerator): drawn from.
        shape (list[int]): of the mask, float32.
        share (float): from 0 to 1, to the next of 65,536 levels.
    """
    if not share:
        return None
    size = math.prod(shape)
    bits = random.random_raw(-(-size // 4)).view(np.uint16)[:size].reshape(shape)
    kept = bits >= min(round(share * LEVELS), LEVELS - 1)
    return np.multiply(kept, np.float32(1 / (1 - share) if share < 1 else 0), dtype=np.float32)


def linear(rows, weight, bias):
    """rows @ weight + bias: [rows, outputs]."""
    out = paddle.matmul(rows, weight)
    view(out)[...] += view(bias)
    return out


def linear_back(rows, weight, gradient):
    """The gradients of `linear` with respect to its inputs, each of its shape."""
    d_rows = paddle.matmul(gradient, weight, transpose_y=True)
    return d_rows, paddle.matmul(rows, gradient, transpose_x=True), column_sums(gradient)


def column_sums(rows):
    """[columns] of [rows, columns], by a product, which is twenty times as fast as Paddle's sum."""
    return paddle.matmul(paddle.ones([rows.shape[0]]), rows)


def _product(tensor, factors):
    out = paddle.empty(tensor.shape)
    np.multiply(view(tensor), factors, out=view(out))
    return out


def _in_place(name, tensor, *numbers):
    """One of Paddle's functions of a tensor, written over it."""
    return getattr(_C_ops, f"{name}_")(tensor, *numbers)


def _dropped(gradient, kept):
    return gradient if kept is None else _product(gradient, kept)


def _split(rows, batch, heads):
    """[batch, heads, tokens, features of a head] from [batch * tokens, features]."""
    tokens = rows.shape[0] // batch
    return paddle.transpose(rows.reshape([batch, tokens, heads, -1]), [0, 2, 1, 3])


def _join(parts):
    """The way back from _split."""
    batch, _, tokens, _ = parts.shape
    return paddle.transpose(parts, [0, 2, 1, 3]).reshape([batch * tokens, -1])


def _normalised(rows, kept, residual, gain, shift, epsilon):
    """LayerNorm of rows * kept + residual.

    Returns:
        tuple: the result [rows, columns]; what it was before gain and shift, an array; 1 / the root of variance +
            epsilon, an array [rows, 1].
    """
    out, normal = paddle.empty(rows.shape), view(rows)
    if kept is not None:
        normal *= kept
    normal += view(residual)
    normal -= normal.mean(axis=1, keepdims=True)
    variance = np.einsum("rc,rc->r", normal, normal)[:, None] / np.float32(normal.shape[1])
    inverse = 1 / np.sqrt(variance + np.float32(epsilon))
    normal *= inverse
    result = view(out)
    np.multiply(normal, view(gain), out=result)
    result += view(shift)
    # The array is a view of the tensor's memory, which has to live as long.
    return out, (rows, normal), inverse


def _normalised_back(gradient, kept_normal, inverse, gain):
    """Gradients of LayerNorm: with respect to its input, to gain and to shift."""
    _, normal = kept_normal
    scratch = _product(gradient, normal)
    d_gain, d_shift = column_sums(scratch), column_sums(gradient)
    out = _product(gradient, view(gain))
    slopes, part = view(out), view(scratch)
    means = np.einsum("rc,rc->r", slopes, normal)[:, None] / np.float32(normal.shape[1])
    np.multiply(normal, means, out=part)
    slopes -= slopes.mean(axis=1, keepdims=True)
    slopes -= part
    slopes *= inverse
    return out, d_gain, d_shift
