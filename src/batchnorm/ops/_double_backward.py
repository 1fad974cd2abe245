"""Double backward: the derivative of the backward pass."""

import torch
from torch import Tensor

from batchnorm import _axes


def double_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    statistics: Tensor,
    eps: float,
    batch_statistics: bool,
    grads: tuple[Tensor | None, ...],
) -> tuple[Tensor, Tensor, Tensor | None]:
    r"""Differentiate the backward pass with respect to `dy`, `x` and `weight`.

    With P(v) = v - mean(v) - xhat mean(v xhat), which is its own adjoint, the backward pass is
    dx = w s P(dy), dweight = sum(dy xhat), dbias = sum(dy). Made of plain torch operations, so
    that the third derivative and all further ones follow by themselves. Derived in
    ``docs/explain/derivation.md``.
    """
    shape, axes = _axes.broadcast(x.shape[1], x.ndim), _axes.reduced(x.ndim)
    zero = torch.zeros((), dtype=torch.float64, device=x.device)
    g_dx, g_dweight, g_dbias = (zero if grad is None else grad.double() for grad in grads)
    g_dx = g_dx.expand(x.shape)
    g_dweight, g_dbias = (g.expand(x.shape[1]).reshape(shape) for g in (g_dweight, g_dbias))
    dy64, x64 = dy.double(), x.double()
    w = (zero + 1 if weight is None else weight.double()).expand(x.shape[1]).reshape(shape)

    def average(v: Tensor) -> Tensor:
        return v.mean(axes, keepdim=True)

    if batch_statistics:
        # Not the saved mean and invstd: here they have to be functions of x.
        centred = x64 - average(x64)
        s = torch.rsqrt(average(centred.square()) + eps)
        xhat = centred * s

        def project(v: Tensor) -> Tensor:
            return v - average(v) - xhat * average(v * xhat)

        p_dy = project(dy64)
        d_dy = w * s * project(g_dx) + g_dweight * xhat + g_dbias
        cross = dy64 * average(g_dx * xhat) + g_dx * average(dy64 * xhat)
        d_x = s * project(g_dweight * dy64 - w * s * cross)
        d_x = d_x - w * s.square() * xhat * average(g_dx * p_dy)
        d_weight = (s * g_dx * p_dy).sum(axes)
    else:
        mean, _, invstd = statistics
        s = invstd.reshape(shape)
        xhat = (x64 - mean.reshape(shape)) * s
        d_dy = w * s * g_dx + g_dweight * xhat + g_dbias
        d_x = s * g_dweight * dy64
        d_weight = (s * g_dx * dy64).sum(axes)
    return (
        d_dy.to(dy.dtype),
        d_x.to(x.dtype),
        None if weight is None else d_weight.to(weight.dtype),
    )
