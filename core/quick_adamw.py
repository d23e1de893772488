"""AdamW's step on a CPU by Paddle's kernel for many parameters at once, after gradients are cut in place.

Paddle 2.6's kernel for one parameter is vectorised on processors with AVX-512 alone, and its cutting to a norm writes
every gradient into new memory, whether or not it is too long.
"""

import math

import paddle
from paddle import _C_ops
from paddle.nn import ClipGradByGlobalNorm


class QuickClip(ClipGradByGlobalNorm):
    """ClipGradByGlobalNorm that multiplies the gradients where they are, and only those that are too long."""

    def _dygraph_clip(self, params_grads):
        pairs = [(parameter, gradient) for parameter, gradient in params_grads if gradient is not None]
        if not all(map(_is_plain, pairs)) or not all(getattr(parameter, "need_clip", True) for parameter, _ in pairs):
            return super()._dygraph_clip(params_grads)
        with paddle.no_grad():
            squares = [_C_ops.squared_l2_norm(gradient).reshape([1]) for _, gradient in pairs]
            norm = math.sqrt(float(paddle.concat(squares).sum())) if squares else 0.0
            if not norm <= self.clip_norm:  # NaN, too
                for _, gradient in pairs:
                    _C_ops.scale_(gradient, self.clip_norm / norm, 0.0, True)
        return params_grads


class QuickAdamW(paddle.optimizer.AdamW):
    """paddle.optimizer.AdamW: the same steps to the last digits of float32, and the same states by the same names."""

    def _create_optimization_pass(self, *args, **options):
        self._waiting = []
        found = super()._create_optimization_pass(*args, **options)
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._update(waiting)
        return found

    def _append_optimize_op(self, block, param_and_grad):
        if isinstance(param_and_grad, dict) or self._lazy_mode or not _is_plain(param_and_grad):
            return super()._append_optimize_op(block, param_and_grad)
        self._waiting.append(param_and_grad)

    @paddle.no_grad()
    def _update(self, pairs):
        rates = [self._create_param_lr(pair) for pair in pairs]
        if self._weight_decay:
            for (parameter, _), rate in zip(pairs, rates):
                if self._apply_decay_param_fun is None or self._apply_decay_param_fun(parameter.name):
                    _C_ops.scale_(parameter, 1.0 - float(rate) * self._weight_decay, 0.0, True)
        names = self._moment1_acc_str, self._moment2_acc_str, self._beta1_pow_acc_str, self._beta2_pow_acc_str
        states = [[self._get_accumulator(name, parameter) for parameter, _ in pairs] for name in names]
        numbers = self._beta1, self._beta2, self._epsilon
        _C_ops.merged_adam_(*map(list, zip(*pairs)), rates, *states, None, *numbers, False, False)


def _is_plain(pair):
    """Whether a parameter and its gradient are float32, dense and on the CPU."""
    return all(tensor.dtype == paddle.float32 and tensor.is_dense() and tensor.place.is_cpu_place() for tensor in pair)


def make_quick(optimizer):
    """Let a plain AdamW make its steps quickly; another optimizer stays as it is.

    Args:
        optimizer (paddle.optimizer.Optimizer): changed in place.
    """
    if type(optimizer) is paddle.optimizer.AdamW:
        optimizer.__class__ = QuickAdamW
        if type(optimizer._grad_clip) is ClipGradByGlobalNorm:
            optimizer._grad_clip.__class__ = QuickClip
    return optimizer
