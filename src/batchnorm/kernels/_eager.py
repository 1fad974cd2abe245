r"""Plain torch operations, on any device: the backend that is always there.

Statistics are taken in float64. The mean is subtracted in two float32 parts, its rounded value
and what the rounding left, so that the error of the output does not grow with \|mean\|/std.
"""

import torch
from torch import Tensor

from batchnorm import _axes
from batchnorm.kernels._select import Backward, Forward


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
) -> Forward:
    """Normalize.

    Args:
        x: input, shape ``(N, C, *)``; if empty, its statistics are 0.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        mean: population mean, shape ``(C,)``; `None` takes the statistics of the batch.
        var: population variance, shape ``(C,)``; `None` together with `mean`.
        eps: added to the variance, inside the square root.
    """
    if mean is not None and var is not None:
        mean, var = mean.to(torch.float64, copy=True), var.to(torch.float64, copy=True)
    elif x.numel() == 0:
        mean, var = x.new_zeros(2, x.shape[1], dtype=torch.float64)
    else:
        var, mean = torch.var_mean(x.to(torch.float64), _axes.reduced(x.ndim), correction=0)
    invstd = torch.rsqrt(var + eps)
    scale = invstd if weight is None else invstd * weight
    y = _centred(x, mean).mul_(_like(scale, x))
    if bias is not None:
        y.add_(_like(bias, x))
    return Forward(y.to(x.dtype), mean, var, invstd)


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    invstd: Tensor,
    batch_statistics: bool,
) -> Backward:
    """Differentiate `forward`.

    Args:
        dy: gradient of the loss with respect to the output, shape ``(N, C, *)``.
        x: the input of `forward`.
        weight: the scale of `forward`.
        mean: the mean that `forward` returned.
        invstd: the invstd that `forward` returned.
        batch_statistics: whether `forward` took its statistics from `x`, so that the gradient
            passes through them too.
    """
    axes = _axes.reduced(x.ndim)
    scale = invstd if weight is None else invstd * weight
    xhat = _centred(x, mean).mul_(_like(invstd, x))
    # Not in place: dy belongs to autograd.
    dy = dy.to(xhat.dtype)
    dbias = dy.sum(axes, dtype=torch.float64)
    dweight = (dy * xhat).sum(axes, dtype=torch.float64)
    if batch_statistics:
        count = max(_axes.count(x.shape), 1)
        dx = xhat.mul_(_like(-dweight / count, x)).add_(dy).sub_(_like(dbias / count, x))
        dx.mul_(_like(scale, x))
    else:
        dx = dy * _like(scale, x)
    return Backward(dx.to(x.dtype), dweight, dbias)


def _centred(x: Tensor, mean: Tensor) -> Tensor:
    """Return ``x - mean`` in float32, or in float64 for a float64 input: always a new tensor."""
    if x.dtype == torch.float64:
        return x - _column(mean, x)
    high = mean.to(torch.float32)
    low = (mean - high).to(torch.float32)
    return (x - _column(high, x)).sub_(_column(low, x))


def _like(per_channel: Tensor, x: Tensor) -> Tensor:
    """Return a ``(C,)`` vector shaped to broadcast with `x`, in the dtype of the arithmetic."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return _column(per_channel.to(dtype), x)


def _column(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.reshape(_axes.broadcast(x.shape[1], x.ndim))
