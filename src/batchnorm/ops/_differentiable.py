"""Derivatives of the forward pass, of any order."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import _C, Tensor

from batchnorm import _axes, kernels
from batchnorm.kernels import (
    PLAIN,
    Backward,
    Call,
    Forward,
    GradientCall,
    RunningStats,
)
from batchnorm.kernels._activations import needs_residual, slope_at
from batchnorm.ops import _captured, _composite, _move
from batchnorm.ops._double_backward import double_backward
from batchnorm.ops._schemas import backward_op, forward_op
from batchnorm.ops._watch import exporting, is_plain_eager, recording_program, transformed


def forward(call: Call, running: RunningStats | None = None) -> Forward:
    """Return ``activation(normalized + residual)``, differentiably in all but the statistics.

    Args:
        call: the arguments.
        running: updated with the statistics of the batch, of at least 2 values a channel.
    """
    x = call.x
    if not is_plain_eager(x):
        if running is not None and recording_program():
            return Forward(_composite.train(call, running), cast("Tensor", None), None)
        out = _observed(call)
        if running is not None:
            update_(running, out.statistics[0], out.statistics[1], _axes.count(x.shape))
        return out
    compute = kernels.current(x.device).forward
    if torch.is_grad_enabled() and _requires_grad(call):
        work = Work(compute, call, running)
        y = _record(x, call.weight, call.bias, call.residual, work)
        return Forward(y, work.statistics, work.mask)
    return compute(call, running)


def _requires_grad(call: Call) -> bool:
    weight, bias, residual = call.weight, call.bias, call.residual
    return (
        call.x.requires_grad
        or (weight is not None and weight.requires_grad)
        or (bias is not None and bias.requires_grad)
        or (residual is not None and residual.requires_grad)
    )


def _observed(call: Call) -> Forward:
    compiling, exported = torch.compiler.is_compiling(), exporting()
    if call.mean is not None and call.var is not None and (compiling or exported):
        # A map that compilers fuse with what stands around it, and that exporters know.
        y = _composite.affine(call)
        return Forward(y, cast("Tensor", None), None)  # they were given, and nobody asks
    if exported or (not compiling and transformed()):
        y, statistics = _composite.forward(call, dtype=_composite.arithmetic(call.x))
        return Forward(y, statistics, None)
    return Forward(*forward_op(*call))


def weighted(call: Call, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return `forward` under statistics in which the values of `x` count by their weights.

    Args:
        call: the arguments, without a population mean and variance.
        weights: how often each value counts, shape ``(N, 1, *)``.
    """
    return _composite.forward(call, weights, _composite.arithmetic(call.x))


def update_(running: RunningStats, mean: Tensor, var: Tensor, count: int | Tensor) -> None:
    """Do what `kernels.update_` does, as one operator where a dispatch mode observes it."""
    if _captured.transformed_by_func():
        _captured.update_(running, mean, var, count)
        return
    if torch.compiler.is_compiling():
        running = _captured.without_captured_counter(running)
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
    """What a forward takes beside its differentiable inputs, and returns beside its output.

    Attributes:
        compute: the forward of a backend, or the operator below autograd.
        call: its arguments.
        running: what it updates.
        statistics: as the forward returned them.
        mask: as the forward returned it.
    """

    __slots__ = ("call", "compute", "mask", "running", "statistics")

    statistics: Tensor
    mask: Tensor | None

    def __init__(
        self,
        compute: Callable[[Call, RunningStats | None], Forward],
        call: Call,
        running: RunningStats | None = None,
    ) -> None:
        self.compute = compute
        self.call = call
        self.running = running


class BatchNorm(torch.autograd.Function):
    """Differentiable in x, weight, bias and residual, which the work's call holds too."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        work: Work,
    ) -> Tensor:
        call = work.call
        if x is not call.x:  # `apply` has unwrapped it
            call = call._replace(x=x, weight=weight, bias=bias, residual=residual)
        _, _, _, mean, _, eps, _, activation, alpha = call
        y, work.statistics, work.mask = work.compute(call, work.running)
        ctx.set_materialize_grads(False)
        ctx.options = eps, mean is None, residual is not None, activation, alpha
        ctx.bias_dtype = None if bias is None else bias.dtype
        shift = None if activation == "identity" else bias
        kept = residual if needs_residual(activation) else None
        ctx.save_for_backward(x, weight, shift, kept, work.statistics, work.mask)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        if dy is None:
            return (None,) * 5
        call = GradientCall(dy, *ctx.saved_tensors, *ctx.options)
        if call.activation == "identity":
            dx, dweight, dbias, _ = _differentiate(_without_epilogue(call))
            dresidual: Tensor | None = dy
        elif torch.is_grad_enabled():
            dx, dweight, dbias, dresidual = _composed(call)
        else:
            dx, dweight, dbias, dresidual = _differentiate(call)
        needs_x, needs_weight, needs_bias, needs_residual, _ = ctx.needs_input_grad
        return (
            dx if needs_x else None,
            _as(dweight, cast("Tensor", call.weight).dtype) if needs_weight else None,
            _as(dbias, ctx.bias_dtype) if needs_bias else None,
            dresidual if needs_residual else None,
            None,
        )


# Past the wrapper of `torch.autograd.Function`, which looks for transforms: `is_plain_eager` has
# done so.
_record = super(torch.autograd.Function, BatchNorm).apply


def _as(gradient: Tensor, dtype: torch.dtype) -> Tensor:
    return gradient if gradient.dtype == dtype else gradient.to(dtype)


def _without_epilogue(call: GradientCall) -> GradientCall:
    """Return the call of a forward that only normalized."""
    if not call.has_residual and call.activation == "identity":
        return call
    return call._replace(has_residual=False, **PLAIN._asdict())


def _differentiate(call: GradientCall) -> Backward:
    dy = call.dy
    if not is_plain_eager(dy) or _C._functorch.is_legacy_batchedtensor(dy):
        return Backward(*backward_op(*call))
    if torch.is_grad_enabled():
        return Backward(*BatchNormGradient.apply(compute_backward, *call))
    return kernels.current(dy.device).backward(call)


def compute_backward(*arguments: Any) -> Backward:
    call = GradientCall(*arguments)
    return kernels.current(call.dy.device).backward(call)


def _composed(call: GradientCall) -> Backward:
    """Differentiate an activated forward by parts, each differentiable as often as one likes."""
    if call.masked:
        # The derivative is constant in pieces, and only the mask knows which: ask it about ones.
        probe = call._replace(dy=torch.ones_like(call.dy), weight=None, bias=None)
        with torch.no_grad():
            slope = cast("Tensor", _differentiate(probe).dresidual)
    else:
        slope = slope_at(_before_activation(call), *call.epilogue)
    g = call.dy * slope
    return _differentiate(_without_epilogue(call._replace(dy=g)))._replace(dresidual=g)


def _before_activation(call: GradientCall) -> Tensor:
    x, weight, bias, residual = call.x, call.weight, call.bias, call.residual
    if call.batch_statistics:
        z = forward(Call(x, weight, bias, eps=call.eps)).y
    else:
        mean, _, invstd = call.statistics
        shape = _axes.broadcast(x.shape[1], x.ndim)
        z = (x - mean.reshape(shape)) * invstd.reshape(shape)
        z = z if weight is None else z * weight.reshape(shape)
        z = (z if bias is None else z + bias.reshape(shape)).to(x.dtype)
    return z if residual is None else z + residual


class BatchNormGradient(torch.autograd.Function):
    """The derivative of a forward without activation, whose own one is `double_backward`."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
        call = GradientCall(*arguments)
        ctx.eps, ctx.batch_statistics = call.eps, call.batch_statistics
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(call.dy, call.x, call.weight, call.statistics)
        return tuple(compute(*arguments))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        dy, x, weight, statistics = ctx.saved_tensors
        found = double_backward(dy, x, weight, statistics, ctx.eps, ctx.batch_statistics, grads[:3])
        needs = ctx.needs_input_grad[1:4]
        kept = (g if need else None for g, need in zip(found, needs, strict=True))
        return (None, *kept, *(None,) * 9)
