"""Composite forward in plain torch operations, differentiable by whatever observes them.

For `torch.func` transforms and forward-mode derivatives, which our operators do not know, for
weighted statistics, and for exporters. Computes in float64, as the eager backend, where it can.
"""

import torch
from torch import Tensor

from batchnorm import _axes
from batchnorm.kernels import Call, RunningStats
from batchnorm.kernels._activations import activate
from batchnorm.ops._watch import exporting


def forward(
    call: Call, weights: Tensor | None = None, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Normalize, add the residual and activate.

    Args:
        call: the arguments.
        weights: how often each value counts in the statistics, shape ``(N, 1, *)``; `None` is 1.
        dtype: of the arithmetic, at least that of `x`.

    Returns:
        The output, with the shape and dtype of `x`, and the statistics, ``(3, C)`` in `dtype`:
        mean, biased variance, ``1 / sqrt(var + eps)``.
    """
    x = call.x
    wide = _to(dtype, x)
    if call.mean is None or call.var is None:
        mean = _average(wide, weights)
        centred = wide - _column(mean, x)
        if dtype != torch.float64:
            rest = _average(centred, weights)  # what rounding has left in the mean
            mean, centred = mean + rest, centred - _column(rest, x)
        var = _average(centred.square(), weights)
    else:
        mean, var = call.mean.to(dtype), call.var.to(dtype)
        centred = wide - _column(mean, x)
    invstd = (var + call.eps).rsqrt()
    scale = invstd if call.weight is None else invstd * call.weight
    z = centred * _column(scale, x)
    if call.bias is not None:
        z = z + _column(call.bias, x)
    if call.residual is not None:
        z = z + call.residual
    y = _to(x.dtype, activate(z, *call.epilogue))
    return y, torch.stack((mean, var, invstd)).detach()


def affine(call: Call) -> Tensor:
    """Normalize with population statistics by torch's own operator, which every exporter knows.

    Statistics of more digits than the arithmetic's are none of a layer's buffers, but computed:
    others that fold the operator look for buffers, and get plain operations instead.
    """
    dtype = portable(call.x)
    assert call.mean is not None  # noqa: S101 -- the caller has asked
    if call.mean.dtype.itemsize > dtype.itemsize:
        return forward(call, dtype=dtype)[0]
    m, v, w, b = (_in(dtype, t) for t in (call.mean, call.var, call.weight, call.bias))
    x = _to(dtype, call.x)  # runtimes want one dtype for all of them
    z = torch.nn.functional.batch_norm(x, m, v, w, b, False, 0.0, call.eps)
    return _finish(z, call)


def train(call: Call, running: RunningStats) -> Tensor:
    """Normalize with the batch by torch's own operator, which others find and switch over.

    Args:
        call: the arguments.
        running: what the operator moves: by a momentum, with the unbiased variance.
    """
    assert isinstance(running.momentum, float | int)  # noqa: S101 -- the layers have seen to it
    dtype = portable(call.x)
    x, w, b = _to(dtype, call.x), _in(dtype, call.weight), _in(dtype, call.bias)
    z = torch.nn.functional.batch_norm(
        x, running.mean, running.var, w, b, True, running.momentum, call.eps
    )
    if running.counter is not None:
        running.counter.add_(1)
    return _finish(z, call)


def _finish(z: Tensor, call: Call) -> Tensor:
    """Add the residual and activate, in the dtype of the arithmetic, and round once."""
    z = z if call.residual is None else z + call.residual
    return _to(call.x.dtype, activate(z, *call.epilogue))


def portable(x: Tensor) -> torch.dtype:
    """Return the dtype of arithmetic that runtimes have which serve `x`: many have no float64."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def arithmetic(x: Tensor) -> torch.dtype:
    """Return the dtype to compute in: float64 here, and in a program one that runtimes have."""
    return portable(x) if exporting() else torch.float64


def _in(dtype: torch.dtype, found: Tensor | None) -> Tensor | None:
    """Convert, and leave no trace of it where there is nothing to convert."""
    return None if found is None else _to(dtype, found)


def _to(dtype: torch.dtype, found: Tensor) -> Tensor:
    # A tracer would take what follows to use the conversion's result, which is the same tensor.
    return found if found.dtype == dtype else found.to(dtype)


def _average(values: Tensor, weights: Tensor | None) -> Tensor:
    axes = _axes.reduced(values.ndim)
    if weights is None:
        return values.mean(axes) if _axes.count(values.shape) else values.sum(axes)
    weights = weights.to(values.dtype)
    count = weights.sum()
    return (values * weights).sum(axes) / torch.where(count > 0, count, 1.0)


def _column(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.reshape(_axes.broadcast(x.shape[1], x.ndim))
