"""Eager backend: plain torch operations, on any device, always available.

All arithmetic is float64, rounded once at the end; so the error of the output grows neither with
the offset of the input nor with its size, and no care is needed about the order of operations.
"""

import torch
from torch import Tensor

from batchnorm import _axes
from batchnorm.kernels import _mask
from batchnorm.kernels._activations import activate, slope_at
from batchnorm.kernels._call import (
    Backward,
    Call,
    Forward,
    GradientCall,
    gradient_dtype,
)
from batchnorm.kernels._running import RunningStats, update_

_DENSE = 2  # dimensions of (N, C)


def forward(call: Call, running: RunningStats | None = None) -> Forward:
    """Normalize, add the residual and activate; update the running statistics.

    Args:
        call: the arguments.
        running: updated with the statistics of the batch, of at least 2 values a channel.
    """
    x = call.x
    axes = _axes.reduced(x.ndim)
    centred = x.to(torch.float64, copy=True)
    if call.mean is not None and call.var is not None:
        mean, var = call.mean.to(torch.float64, copy=True), call.var.to(torch.float64, copy=True)
        centred.sub_(_column(mean, x))
    else:
        # Two passes, and not torch.var_mean: it takes ten times as long over dimension 0.
        count = max(_axes.count(x.shape), 1)
        mean = centred.sum(axes).div_(count)
        centred.sub_(_column(mean, x))
        var = (centred * centred).sum(axes).div_(count)
    invstd = var.add(call.eps).rsqrt_()
    z = centred.mul_(_column(invstd if call.weight is None else invstd * call.weight, x))
    if call.bias is not None:
        z.add_(_column(call.bias, x))
    if call.residual is not None:
        z.add_(call.residual)
    y = torch.empty_like(x).copy_(activate(z, *call.epilogue))
    # Not y > 0, so that the gradient passes where the output is NaN, as in torch.relu.
    mask = _mask.pack((y <= 0).logical_not_()) if call.masked else None
    statistics = torch.stack((mean, var, invstd))
    if running is not None:
        update_(running, mean, var, _axes.count(x.shape))
    return Forward(y, statistics, mask)


def backward(call: GradientCall) -> Backward:
    """Differentiate `forward`.

    Args:
        call: the arguments.
    """
    x, weight = call.x, call.weight
    mean, _, invstd = call.statistics
    axes = _axes.reduced(x.ndim)
    xhat = x.to(torch.float64, copy=True).sub_(_column(mean, x)).mul_(_column(invstd, x))
    dx = torch.empty_like(x, dtype=torch.float64).copy_(call.dy)
    if call.activation != "identity":
        dx.mul_(_slope(xhat, call))
    dresidual = torch.empty_like(x).copy_(dx) if call.has_residual else None
    dbias = dx.sum(axes)
    dweight = (dx * xhat).sum(axes)
    if call.batch_statistics:
        count = max(_axes.count(x.shape), 1)
        dx.sub_(_column(dbias / count, x))
        dx.sub_(xhat.mul_(_column(dweight / count, x)))
    dx.mul_(_column(invstd if weight is None else invstd * weight, x))
    dtype = gradient_dtype(weight)
    return Backward(torch.empty_like(x).copy_(dx), dweight.to(dtype), dbias.to(dtype), dresidual)


def _slope(xhat: Tensor, call: GradientCall) -> Tensor:
    """Return the derivative of the activation, from the mask or from what went into it."""
    x, weight, bias, residual = call.x, call.weight, call.bias, call.residual
    if call.masked:
        return _mask.unpack(call.mask, x).to(torch.float64)
    z = xhat if weight is None else xhat * _column(weight, x)
    if bias is not None:
        z = z + _column(bias, x)
    return slope_at(z if residual is None else z + residual, *call.epilogue)


def _column(per_channel: Tensor, x: Tensor) -> Tensor:
    """Return a ``(C,)`` vector shaped to broadcast with `x`."""
    if x.ndim == _DENSE:  # broadcasts as it is, and a reshape costs as much as an addition
        return per_channel
    return per_channel.reshape(_axes.broadcast(x.shape[1], x.ndim))
