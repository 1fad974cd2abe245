r"""The operators that PyTorch sees: schemas, fake kernels for tracing, and derivatives.

``torch.ops.batchnorm.forward`` and ``.backward`` serve every device; the kernels floor decides
which backend computes. They are registered on a bare `torch.library.Library`, with the
derivative as a `torch.autograd.Function`: `torch.library.register_autograd` would do the same
at nearly twice the cost of a call.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import _C, Tensor

from batchnorm import _axes, kernels

_FORWARD = (
    "forward(Tensor x, Tensor? weight, Tensor? bias, Tensor? mean, Tensor? var, float eps)"
    " -> (Tensor y, Tensor mean, Tensor var, Tensor invstd)"
)
_BACKWARD = (
    "backward(Tensor dy, Tensor x, Tensor? weight, Tensor mean, Tensor invstd, float eps,"
    " bool batch_statistics) -> (Tensor dx, Tensor dweight, Tensor dbias)"
)

_library = torch.library.Library("batchnorm", "DEF")
_library.define(_FORWARD)
_library.define(_BACKWARD)

_PLAIN_TYPES = (Tensor, torch.nn.Parameter)

_forward_op = torch.ops.batchnorm.forward.default
_backward_op = torch.ops.batchnorm.backward.default


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
) -> kernels.Forward:
    """Normalize, differentiably in `x`, `weight` and `bias`.

    Args:
        x: input, shape ``(N, C, *)``.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        mean: population mean, shape ``(C,)``; `None` takes the statistics of the batch.
        var: population variance, shape ``(C,)``; `None` together with `mean`.
        eps: added to the variance, inside the square root.
    """
    arguments = (x, weight, bias, mean, var, eps)
    if not _plain(x):
        return kernels.Forward(*_forward_op(*arguments))
    if torch.is_grad_enabled() and _C._any_requires_grad(*arguments):
        return kernels.Forward(*_Forward.apply(_compute_forward, *arguments))
    return _compute_forward(*arguments)


def _plain(x: Tensor) -> bool:
    """Whether nobody watches this call, so that the dispatcher (8 µs) can be left out."""
    return not (
        torch.compiler.is_compiling()
        or type(x) not in _PLAIN_TYPES
        or _C._len_torch_dispatch_stack()
        or _C._are_functorch_transforms_active()
    )


# ------------------------------------------------------------------------------- computing


def _compute_forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
) -> kernels.Forward:
    return kernels.current(x.device).forward(x, weight, bias, mean, var, eps)


def _compute_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    invstd: Tensor,
    eps: float,  # noqa: ARG001 -- needed by the second derivative, which takes the same arguments
    batch_statistics: bool,
) -> kernels.Backward:
    return kernels.current(x.device).backward(dy, x, weight, mean, invstd, batch_statistics)


def _fake_forward(x: Tensor, *_: Any) -> kernels.Forward:
    return kernels.Forward(torch.empty_like(x), *(_per_channel(x) for _ in range(3)))


def _fake_backward(_dy: Tensor, x: Tensor, *_: Any) -> kernels.Backward:
    return kernels.Backward(torch.empty_like(x), _per_channel(x), _per_channel(x))


def _per_channel(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[1], dtype=torch.float64)


# --------------------------------------------------------------------------- differentiating


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        compute: Callable[..., tuple[Tensor, ...]],
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        var: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, ...]:
        y, *statistics = compute(x, weight, bias, mean, var, eps)
        ctx.mark_non_differentiable(*statistics)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, bias, statistics[0], statistics[2])
        ctx.eps = eps
        ctx.batch_statistics = mean is None
        return y, *statistics

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if dy is None:
            return (None,) * 7
        x, weight, bias, mean, invstd = ctx.saved_tensors
        arguments = (dy, x, weight, mean, invstd, ctx.eps, ctx.batch_statistics)
        if not _plain(dy):
            dx, dweight, dbias = _backward_op(*arguments)
        elif torch.is_grad_enabled():
            dx, dweight, dbias = _Backward.apply(_compute_backward, *arguments)
        else:
            dx, dweight, dbias = _compute_backward(*arguments)
        _, need_dx, need_dweight, need_dbias, *_ = ctx.needs_input_grad
        return (
            None,
            dx if need_dx else None,
            dweight.to(weight.dtype) if need_dweight else None,
            dbias.to(bias.dtype) if need_dbias else None,
            None,
            None,
            None,
        )


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        compute: Callable[..., tuple[Tensor, ...]],
        dy: Tensor,
        x: Tensor,
        weight: Tensor | None,
        mean: Tensor,
        invstd: Tensor,
        eps: float,
        batch_statistics: bool,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(dy, x, weight, mean, invstd)
        ctx.eps = eps
        ctx.batch_statistics = batch_statistics
        return tuple(compute(dy, x, weight, mean, invstd, eps, batch_statistics))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        dy, x, weight, mean, invstd = ctx.saved_tensors
        needs = ctx.needs_input_grad[1:4]
        gradients = _second(dy, x, weight, mean, invstd, ctx.eps, ctx.batch_statistics, grads)
        kept = (g if need else None for g, need in zip(gradients, needs, strict=True))
        return (None, *kept, None, None, None, None)


class _SecondGradients(NamedTuple):
    dy: Tensor
    x: Tensor
    weight: Tensor | None


def _second(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    invstd: Tensor,
    eps: float,
    batch_statistics: bool,
    grads: tuple[Tensor | None, ...],
) -> _SecondGradients:
    r"""Differentiate the backward pass; made of plain torch operations, so as often as one likes.

    With P(v) = v - mean(v) - xhat mean(v xhat), which is its own adjoint, the backward pass is
    dx = w s P(dy), dweight = sum(dy xhat), dbias = sum(dy). Derived in
    ``docs/explain/derivation.md``.
    """
    shape, axes = _axes.broadcast(x.shape[1], x.ndim), _axes.reduced(x.ndim)
    g_dx, g_dweight, g_dbias = (
        torch.zeros((), dtype=torch.float64, device=x.device) if grad is None else grad.double()
        for grad in grads
    )
    g_dx = g_dx.expand(x.shape)
    g_dweight, g_dbias = (g.expand(x.shape[1]).reshape(shape) for g in (g_dweight, g_dbias))
    dy64, x64 = dy.double(), x.double()
    w = torch.ones(shape, dtype=torch.float64, device=x.device)
    if weight is not None:
        w = weight.double().reshape(shape)
    if not batch_statistics:
        s = invstd.reshape(shape)
        xhat = (x64 - mean.reshape(shape)) * s
        d_dy = w * s * g_dx + g_dweight * xhat + g_dbias
        d_x = s * g_dweight * dy64
        d_weight = (s * g_dx * dy64).sum(axes)
    else:

        def average(v: Tensor) -> Tensor:
            return v.mean(axes, keepdim=True)

        # Not the saved mean and invstd: here they have to be functions of x.
        centred = x64 - average(x64)
        s = torch.rsqrt(average(centred.square()) + eps)
        xhat = centred * s

        def project(v: Tensor) -> Tensor:
            return v - average(v) - xhat * average(v * xhat)

        p_dy = project(dy64)
        d_dy = w * s * project(g_dx) + g_dweight * xhat + g_dbias
        d_xhat = (
            -w * s * (dy64 * average(g_dx * xhat) + g_dx * average(dy64 * xhat)) + g_dweight * dy64
        )
        d_x = s * project(d_xhat) - w * s.square() * xhat * average(g_dx * p_dy)
        d_weight = (s * g_dx * p_dy).sum(axes)
    return _SecondGradients(
        d_dy.to(dy.dtype),
        d_x.to(x.dtype),
        None if weight is None else d_weight.to(weight.dtype),
    )


def _autograd(
    op: Any, function: type[torch.autograd.Function]
) -> Callable[..., tuple[Tensor, ...]]:
    """Return the kernel of `op` at the autograd key: record the derivative, then go below."""

    def below(keyset: Any, *arguments: Any) -> tuple[Tensor, ...]:
        with _C._AutoDispatchBelowAutograd():
            return op.redispatch(keyset & _C._after_autograd_keyset, *arguments)

    def differentiable(keyset: Any, *arguments: Any) -> tuple[Tensor, ...]:
        if torch.is_grad_enabled() and _C._any_requires_grad(*arguments):
            return function.apply(functools.partial(below, keyset), *arguments)
        return below(keyset, *arguments)

    return differentiable


for _op, _compute, _fake, _function in (
    (_forward_op, _compute_forward, _fake_forward, _Forward),
    (_backward_op, _compute_backward, _fake_backward, _Backward),
):
    _library.impl(_op, _compute, "CompositeExplicitAutograd")
    _library.impl(_op, _autograd(_op, _function), "Autograd", with_keyset=True)
    torch.library.register_fake(_op, _fake, lib=_library)
