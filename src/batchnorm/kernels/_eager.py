"""Plain torch operations, on any device: the backend that is always there.

All arithmetic is float64, rounded once at the end; so the error of the output grows neither with
the offset of the input nor with its size, and no care is needed about the order of operations.
"""

import torch
from torch import Tensor

from batchnorm import _axes
from batchnorm.kernels._select import Backward, Forward

_DENSE = 2  # dimensions of (N, C)


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
    axes = _axes.reduced(x.ndim)
    centred = x.to(torch.float64, copy=True)
    if mean is not None and var is not None:
        mean, var = mean.to(torch.float64, copy=True), var.to(torch.float64, copy=True)
        centred.sub_(_column(mean, x))
    else:
        # Two passes, and not torch.var_mean: it takes ten times as long over dimension 0.
        count = max(_axes.count(x.shape), 1)
        mean = centred.sum(axes).div_(count)
        centred.sub_(_column(mean, x))
        var = (centred * centred).sum(axes).div_(count)
    invstd = var.add(eps).rsqrt_()
    scale = invstd if weight is None else invstd * weight
    y = torch.empty_like(x)  # the last operation rounds into it
    if bias is None:
        torch.mul(centred, _column(scale, x), out=y)
    else:
        torch.add(centred.mul_(_column(scale, x)), _column(bias, x), out=y)
    return Forward(y, mean, var, invstd)


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
    xhat = x.to(torch.float64, copy=True).sub_(_column(mean, x)).mul_(_column(invstd, x))
    dx = torch.empty_like(x, dtype=torch.float64).copy_(dy)
    dbias = dx.sum(axes)
    dweight = (dx * xhat).sum(axes)
    if batch_statistics:
        count = max(_axes.count(x.shape), 1)
        dx.sub_(_column(dbias / count, x))
        dx.sub_(xhat.mul_(_column(dweight / count, x)))
    scale = invstd if weight is None else invstd * weight
    rounded = torch.empty_like(x)
    torch.mul(dx, _column(scale, x), out=rounded)
    return Backward(rounded, dweight, dbias)


def _column(per_channel: Tensor, x: Tensor) -> Tensor:
    """Return a ``(C,)`` vector shaped to broadcast with `x`."""
    if x.ndim == _DENSE:  # broadcasts as it is, and a reshape costs as much as an addition
        return per_channel
    return per_channel.reshape(_axes.broadcast(x.shape[1], x.ndim))
