"""The forward pass and its derivatives, of any order."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import _C, Tensor

from batchnorm import _axes, kernels
from batchnorm.kernels import PLAIN, Backward, Epilogue, Forward, Running, Saved, _eager

from . import _composite, _move
from ._compute import compute_backward
from ._schemas import backward_op, forward_op
from ._second import second
from ._watch import exporting, plain, transformed


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    residual: Tensor | None = None,
    epilogue: Epilogue = PLAIN,
    running: Running | None = None,
) -> Forward:
    """Return ``activation(normalized + residual)``, differentiably in all but the statistics.

    Args:
        x: input, shape ``(N, C, *)``.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        mean: population mean, shape ``(C,)``; `None` takes the statistics of the batch.
        var: population variance, shape ``(C,)``; `None` together with `mean`.
        eps: added to the variance, inside the square root.
        residual: added before the activation, shape of `x`; `None` is 0.
        epilogue: the activation.
        running: moved towards the statistics of the batch, of at least 2 values a channel.
    """
    if not plain(x):
        out = _watched(x, weight, bias, mean, var, eps, residual, epilogue)
        if running is not None:
            update_(running, out.statistics[0], out.statistics[1], _axes.count(x.shape))
        return out
    compute = kernels.current(x.device).forward
    if torch.is_grad_enabled() and _C._any_requires_grad(x, weight, bias, residual):
        work = Work(compute, mean, var, eps, epilogue, running)
        y = _record(x, weight, bias, residual, work)
        return Forward(y, work.statistics, work.mask)
    return compute(x, weight, bias, mean, var, eps, residual, epilogue, running)


def _watched(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    residual: Tensor | None,
    epilogue: Epilogue,
) -> Forward:
    compiling, exported = torch.compiler.is_compiling(), exporting()
    if mean is not None and var is not None and (compiling or exported):
        # A map that compilers fuse with what stands around it, and that exporters know.
        y = _composite.affine(x, weight, bias, mean, var, eps, residual, epilogue)
        return Forward(y, cast("Tensor", None), None)  # they were given, and nobody asks
    if exported or (not compiling and transformed()):
        dtype = _composite.portable(x) if exported else torch.float64
        y, statistics = _composite.forward(
            x, weight, bias, mean, var, eps, residual, epilogue, dtype=dtype
        )
        return Forward(y, statistics, None)
    return Forward(*forward_op(x, weight, bias, mean, var, eps, residual, *epilogue))


def weighted(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    residual: Tensor | None,
    epilogue: Epilogue,
    weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return `forward` under statistics in which the values of `x` count by their weights.

    Args:
        x: input, shape ``(N, C, *)``.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        eps: added to the variance, inside the square root.
        residual: added before the activation, shape of `x`; `None` is 0.
        epilogue: the activation.
        weights: how often each value counts, shape ``(N, 1, *)``.
    """
    dtype = _composite.portable(x) if exporting() else torch.float64
    return _composite.forward(x, weight, bias, None, None, eps, residual, epilogue, weights, dtype)


def update_(running: Running, mean: Tensor, var: Tensor, count: int | Tensor) -> None:
    """Do what `kernels.update_` does, as one operator where a dispatch mode looks on."""
    counted = (
        not torch.compiler.is_compiling()
        and _C._len_torch_dispatch_stack() > 0
        and type(mean) is Tensor
        and not isinstance(running.momentum, Tensor)
        and not transformed()
    )
    move_ = _move.move_ if counted else kernels.update_
    move_(running, mean, var, count)


class Work:
    """What a forward does beside its differentiable inputs, and what it finds beside its output."""

    __slots__ = ("arguments", "compute", "mask", "statistics")

    statistics: Tensor
    mask: Tensor | None

    def __init__(self, compute: Callable[..., Forward], *arguments: Any) -> None:
        self.compute = compute
        self.arguments = arguments  # mean, var, eps, epilogue, running


class BatchNorm(torch.autograd.Function):
    """Differentiable in x, weight, bias and residual."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        work: Work,
    ) -> Tensor:
        mean, var, eps, epilogue, running = work.arguments
        out = work.compute(x, weight, bias, mean, var, eps, residual, epilogue, running)
        y, work.statistics, work.mask = out
        ctx.set_materialize_grads(False)
        ctx.options = eps, mean is None, residual is not None, epilogue
        activation = epilogue.activation
        shift = None if activation == "identity" else bias
        kept = residual if activation in _NEED_RESIDUAL else None
        ctx.dtypes = _dtype(weight), _dtype(bias)
        ctx.save_for_backward(x, weight, shift, kept, work.statistics, work.mask)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        if dy is None:
            return (None,) * 5
        saved = Saved(*ctx.saved_tensors)
        _, _, has_residual, epilogue = ctx.options
        if epilogue.activation == "identity":
            dx, dweight, dbias, _ = _backward(ctx, dy, saved, False, PLAIN)
            dresidual: Tensor | None = dy
        elif torch.is_grad_enabled():
            dx, dweight, dbias, dresidual = _composed(ctx, dy, saved)
        else:
            dx, dweight, dbias, dresidual = _backward(ctx, dy, saved, has_residual, epilogue)
        needs_x, needs_weight, needs_bias, needs_residual, _ = ctx.needs_input_grad
        weight_dtype, bias_dtype = ctx.dtypes
        return (
            dx if needs_x else None,
            dweight.to(weight_dtype) if needs_weight else None,
            dbias.to(bias_dtype) if needs_bias else None,
            dresidual if needs_residual else None,
            None,
        )


# Past the wrapper of `torch.autograd.Function`, which looks for transforms: `plain` has done so.
_record = super(torch.autograd.Function, BatchNorm).apply


def _dtype(parameter: Tensor | None) -> torch.dtype | None:
    return None if parameter is None else parameter.dtype


# With a residual, what the derivative of these activations is taken at is recomputed.
_NEED_RESIDUAL = ("leaky_relu", "silu")


def _backward(
    ctx: Any, dy: Tensor, saved: Saved, has_residual: bool, epilogue: Epilogue
) -> Backward:
    eps, batch_statistics, *_ = ctx.options
    arguments = (dy, *saved, eps, batch_statistics, has_residual, *epilogue)
    if not plain(dy):
        return Backward(*backward_op(*arguments))
    if torch.is_grad_enabled():
        return Backward(*BatchNormGradient.apply(compute_backward, *arguments))
    compute = kernels.current(dy.device).backward
    return compute(dy, saved, batch_statistics, has_residual, epilogue)


def _composed(ctx: Any, dy: Tensor, saved: Saved) -> Backward:
    """Differentiate an activated forward by parts, each differentiable as often as one likes."""
    *_, has_residual, epilogue = ctx.options
    if has_residual and epilogue.activation == "relu":
        # The derivative is constant in pieces, and only the mask knows which: ask it about ones.
        probe = saved._replace(weight=None, bias=None)
        with torch.no_grad():
            ones = torch.ones_like(dy)
            slope = cast("Tensor", _backward(ctx, ones, probe, True, epilogue).dresidual)
    else:
        slope = _eager.slope_at(_before_activation(ctx, saved), epilogue)
    g = dy * slope
    return _backward(ctx, g, saved, False, PLAIN)._replace(dresidual=g)


def _before_activation(ctx: Any, saved: Saved) -> Tensor:
    x, weight, bias, residual, statistics, _ = saved
    eps, batch_statistics, *_ = ctx.options
    if batch_statistics:
        z = forward(x, weight, bias, None, None, eps).y
    else:
        mean, _, invstd = statistics
        shape = _axes.broadcast(x.shape[1], x.ndim)
        z = (x - mean.reshape(shape)) * invstd.reshape(shape)
        z = z if weight is None else z * weight.reshape(shape)
        z = (z if bias is None else z + bias.reshape(shape)).to(x.dtype)
    return z if residual is None else z + residual


class BatchNormGradient(torch.autograd.Function):
    """The derivative of a forward without activation, whose own derivative is `second`."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
        dy, x, weight, _, _, statistics, _, ctx.eps, ctx.batch_statistics, *_ = arguments
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(dy, x, weight, statistics)
        return tuple(compute(*arguments))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        dy, x, weight, statistics = ctx.saved_tensors
        found = second(dy, x, weight, statistics, ctx.eps, ctx.batch_statistics, grads[:3])
        needs = ctx.needs_input_grad[1:4]
        kept = (g if need else None for g, need in zip(found, needs, strict=True))
        return (None, *kept, *(None,) * 9)
