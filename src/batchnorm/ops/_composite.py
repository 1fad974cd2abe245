"""The forward pass in plain torch operations, differentiable by whatever watches them.

For `torch.func` transforms and forward-mode derivatives, which our operators do not know, and for
weighted statistics. Computes in float64, as the eager backend.
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

    Returns:
        The output, with the shape and dtype of `x`, and the statistics, float64 ``(3, C)``: mean,
        biased variance, ``1 / sqrt(var + eps)``.
    """
    x64 = x.to(torch.float64)
    if mean is None or var is None:
        mean = _average(x64, weights)
        var = _average((x64 - _column(mean, x)).square(), weights)
    mean, var = mean.to(torch.float64), var.to(torch.float64)
    invstd = (var + eps).rsqrt()
    scale = invstd if weight is None else invstd * weight
    z = (x64 - _column(mean, x)) * _column(scale, x)
    if bias is not None:
        z = z + _column(bias, x)
    if residual is not None:
        z = z + residual
    y = _eager.activate(z, epilogue).to(x.dtype)
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
    z = torch.nn.functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)
    return _eager.activate(z if residual is None else z + residual, epilogue)


def _average(values: Tensor, weights: Tensor | None) -> Tensor:
    axes = _axes.reduced(values.ndim)
    if weights is None:
        return values.sum(axes) / max(_axes.count(values.shape), 1)
    count = weights.sum()
    return (values * weights).sum(axes) / torch.where(count > 0, count, 1.0)


def _column(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.reshape(_axes.broadcast(x.shape[1], x.ndim))
