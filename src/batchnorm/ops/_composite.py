"""The forward pass in plain torch operations, differentiable by whatever watches them.

For `torch.func` transforms and forward-mode derivatives, which our operators do not know, for
weighted statistics, and for exporters. Computes in float64, as the eager backend, where it can.
"""

import torch
from torch import Tensor

from batchnorm import _axes
from batchnorm.kernels import PLAIN, Epilogue, _eager


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    residual: Tensor | None = None,
    epilogue: Epilogue = PLAIN,
    weights: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Normalize, add the residual and activate.

    Args:
        x: input, shape ``(N, C, *)``; if empty, its statistics are 0.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        mean: population mean, shape ``(C,)``; `None` takes the statistics of the batch.
        var: population variance, shape ``(C,)``; `None` together with `mean`.
        eps: added to the variance, inside the square root.
        residual: added before the activation, shape of `x`.
        epilogue: the activation.
        weights: how often each value counts in the statistics, shape ``(N, 1, *)``; `None` is 1.
        dtype: of the arithmetic, at least that of `x`.

    Returns:
        The output, with the shape and dtype of `x`, and the statistics, ``(3, C)`` in `dtype`:
        mean, biased variance, ``1 / sqrt(var + eps)``.
    """
    wide = _to(dtype, x)
    if mean is None or var is None:
        mean = _average(wide, weights)
        centred = wide - _column(mean, x)
        if dtype != torch.float64:
            rest = _average(centred, weights)  # what rounding has left in the mean
            mean, centred = mean + rest, centred - _column(rest, x)
        var = _average(centred.square(), weights)
    else:
        mean, var = mean.to(dtype), var.to(dtype)
        centred = wide - _column(mean, x)
    invstd = (var + eps).rsqrt()
    scale = invstd if weight is None else invstd * weight
    z = centred * _column(scale, x)
    if bias is not None:
        z = z + _column(bias, x)
    if residual is not None:
        z = z + residual
    y = _to(x.dtype, _eager.activate(z, epilogue))
    return y, torch.stack((mean, var, invstd)).detach()


def affine(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    var: Tensor,
    eps: float,
    residual: Tensor | None = None,
    epilogue: Epilogue = PLAIN,
) -> Tensor:
    """Normalize with population statistics by torch's own operator, which every exporter knows."""
    m, v, w, b = (_in(portable(x), found) for found in (mean, var, weight, bias))
    z = torch.nn.functional.batch_norm(x, m, v, w, b, False, 0.0, eps)
    return _eager.activate(z if residual is None else z + residual, epilogue)


def portable(x: Tensor) -> torch.dtype:
    """Return the dtype of arithmetic that runtimes have which serve `x`: many have no float64."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


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
