"""Normalization of a checked batch, with its own statistics or with those of the population.

What `batch_norm`, `normalize` and the layers share, behind the checks of the arguments.
"""

import torch
from torch import Tensor

from batchnorm import _axes, ops
from batchnorm._moments import Moments
from batchnorm.errors import OptionError
from batchnorm.functional._batch import Batch, Weights
from batchnorm.functional._checks import check_finite
from batchnorm.functional._options import Options
from batchnorm.kernels import Call, Epilogue, RunningStats

AffineParameters = tuple[Tensor | None, Tensor | None]


def train(
    batch: Batch,
    affine: AffineParameters,
    eps: float,
    running: RunningStats | None,
    options: Options,
) -> Tensor:
    """Normalize with the statistics of the batch, and update the running ones.

    Args:
        batch: a checked batch.
        affine: scale and shift, both ``(C,)`` or `None`.
        eps: added to the variance, inside the square root.
        running: what is updated, if anything.
        options: the activation, and whether a statistic that is not finite raises.

    Raises:
        NonFiniteError: a statistic is not finite, under ``nonfinite="raise"``.
    """
    x, residual, mask, sample_weight = batch
    if mask is None and sample_weight is None and options.nonfinite != "raise":
        call = Call(x, *affine, None, None, eps, residual, *options.epilogue)
        return ops.forward(call, running).y
    y, moments = measure(batch, affine, eps, options.epilogue)
    var = moments.variance()
    if options.nonfinite == "raise":
        check_finite(moments.mean, var)
    if running is not None:
        ops.update_(running, moments.mean, var, moments.count)
    return y


def measure(
    batch: Batch, affine: AffineParameters, eps: float, epilogue: Epilogue
) -> tuple[Tensor, Moments]:
    """Normalize with the statistics of the batch, and return the moments of what counts in it."""
    x, residual = batch.x, batch.residual
    weights = batch.weights()
    if weights is None:
        y, statistics, _ = ops.forward(Call(x, *affine, None, None, eps, residual, *epilogue))
        count = torch.full((), _axes.count(x.shape), device=x.device)
    else:
        y, statistics = _weighted(batch, weights, affine, eps, epilogue)
        count = weights.values.sum()
    mean, var, _ = statistics
    return y, Moments(count, mean, var * count)


def _weighted(
    batch: Batch, weights: Weights, affine: AffineParameters, eps: float, epilogue: Epilogue
) -> tuple[Tensor, Tensor]:
    x, residual = batch.x, batch.residual
    rows = weights.rows(x)
    if rows is not None:
        added = None if residual is None else weights.rows(residual)
        y, statistics, _ = ops.forward(Call(rows, *affine, None, None, eps, added, *epilogue))
        return weights.put_back(y, x), statistics
    added = None if residual is None else weights.keep(residual)
    call = Call(weights.keep(x), *affine, None, None, eps, added, *epilogue)
    y, statistics = ops.weighted(call, weights.values)
    return weights.keep(y), statistics


def evaluate(
    batch: Batch,
    affine: AffineParameters,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    epilogue: Epilogue,
) -> Tensor:
    """Normalize with population statistics.

    Args:
        batch: a checked batch.
        affine: scale and shift, both ``(C,)`` or `None`.
        mean: population mean, shape ``(C,)``.
        var: population variance, shape ``(C,)``.
        eps: added to the variance, inside the square root.
        epilogue: the activation.

    Raises:
        OptionError: one of the statistics is missing.
    """
    if mean is None or var is None:
        raise OptionError(
            "evaluation needs running_mean and running_var, got None: "
            "give both, or normalize with the batch (training=True)"
        )
    x, residual = batch.x, batch.residual
    weights = batch.weights()
    if weights is None:
        return ops.forward(Call(x, *affine, mean, var, eps, residual, *epilogue)).y
    added = None if residual is None else weights.keep(residual)
    call = Call(weights.keep(x), *affine, mean, var, eps, added, *epilogue)
    return weights.keep(ops.forward(call).y)
