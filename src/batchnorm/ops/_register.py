"""Registration of the operators with PyTorch's dispatcher: computed, differentiated, traced."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import _C, Tensor

from batchnorm import kernels
from batchnorm.kernels import Backward, Call, Forward, GradientCall, _mask, gradient_dtype
from batchnorm.ops import _composite, _move
from batchnorm.ops._differentiable import BatchNorm, BatchNormGradient, Work, compute_backward
from batchnorm.ops._door import check_call, check_gradient_call
from batchnorm.ops._schemas import backward_op, forward_op, library


def compute_forward(*arguments: Any) -> Forward:
    call = Call(*arguments)
    return kernels.current(call.x.device).forward(call)


def _fake_forward(*arguments: Any) -> Forward:
    call = Call(*arguments)
    x = call.x
    mask = x.new_empty(_mask.size(x.numel()) if call.masked else 0, dtype=torch.uint8)
    statistics = x.new_empty((3, x.shape[1]), dtype=torch.float64)
    return Forward(torch.empty_like(x), statistics, mask)


def _fake_backward(*arguments: Any) -> Backward:
    call = GradientCall(*arguments)
    x, dtype = call.x, gradient_dtype(call.weight)
    dresidual = torch.empty_like(x) if call.has_residual else x.new_empty(0)
    dweight, dbias = (x.new_empty(x.shape[1], dtype=dtype) for _ in range(2))
    return Backward(torch.empty_like(x), dweight, dbias, dresidual)


def _below(op: Any, keyset: Any) -> Callable[..., Any]:
    """Return what calls `op` below autograd."""

    def call(*arguments: Any) -> Any:
        with _C._AutoDispatchBelowAutograd():
            return op.redispatch(keyset & _C._after_autograd_keyset, *arguments)

    return call


def _differentiable_forward(keyset: Any, *arguments: Any) -> tuple[Tensor, ...]:
    """Record the derivative, then go below."""
    call = Call(*arguments)
    if _C._are_functorch_transforms_active():  # a compiler traces through a transform
        y, statistics = _composite.forward(call)
        return y, statistics, call.x.new_empty(0, dtype=torch.uint8)
    below = _below(forward_op, keyset)
    differentiable = call.x, call.weight, call.bias, call.residual
    if not (torch.is_grad_enabled() and _C._any_requires_grad(*differentiable)):
        return below(*call)
    work = Work(lambda call, _: Forward(*below(*call)), call)
    y = BatchNorm.apply(*differentiable, work)
    return y, work.statistics, cast("Tensor", work.mask)


def _differentiable_backward(keyset: Any, *arguments: Any) -> tuple[Tensor, ...]:
    """Record the derivative, then go below."""
    below = _below(backward_op, keyset)
    if torch.is_grad_enabled() and _C._any_requires_grad(*arguments):
        # The dispatcher leaves out arguments that have their default value.
        return BatchNormGradient.apply(below, *arguments, *_BACKWARD_DEFAULTS[len(arguments) :])
    return below(*arguments)


_BACKWARD_DEFAULTS = [argument.default_value for argument in backward_op._schema.arguments]


def _checked(compute: Callable[..., tuple[Tensor | None, ...]]) -> Callable[..., Any]:
    """Return a kernel for the dispatcher, which knows no optional results: empty for `None`."""
    forward = compute is compute_forward

    def computed(*arguments: Any) -> tuple[Tensor, ...]:
        if forward:
            check_call(Call(*arguments))
        else:
            check_gradient_call(GradientCall(*arguments))
        out = compute(*arguments)
        empty = arguments[0].new_empty
        last = empty(0, dtype=torch.uint8) if forward else empty(0)
        return tuple(last if result is None else result for result in out)

    return computed


_move.define(library)
for _op, _compute, _fake, _differentiable in (
    (forward_op, compute_forward, _fake_forward, _differentiable_forward),
    (backward_op, compute_backward, _fake_backward, _differentiable_backward),
):
    library.impl(_op, _checked(_compute), "CompositeExplicitAutograd")
    library.impl(_op, _differentiable, "Autograd", with_keyset=True)
    torch.library.register_fake(_op, _fake, lib=library)
