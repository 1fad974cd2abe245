"""Population statistics of a layer: estimated from what it has seen, checked, written."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm.errors import CountError, DataError

from ._seen import Method, Seen


class Population(NamedTuple):
    """Statistics of everything that reaches a layer.

    Attributes:
        mean: shape ``(C,)``, float64.
        var: unbiased variance, shape ``(C,)``, float64.
        batches: number of batches they come from.
        rows: number of examples they come from.
    """

    mean: Tensor
    var: Tensor
    batches: int
    rows: int


def population(name: str, layer: _BatchNorm, method: Method, seen: Seen) -> Population:
    """Return the statistics that follow from what a layer has seen, on its device.

    Raises:
        CountError: too few values for a variance.
        DataError: a statistic is too large for the layer's buffers.
    """
    mean, var = method.estimate(*seen.parts)
    if not torch.isfinite(var).all():
        raise CountError(
            f"layer {name!r} needs more than one value per channel (for algorithm-2 in every "
            f"batch) to have a variance, got {seen.batches} batches of {seen.rows} rows in all: "
            "give more data"
        )
    for statistic, buffer in ((mean, layer.running_mean), (var, layer.running_var)):
        if not torch.isfinite(statistic.to(buffer.dtype)).all():
            raise DataError(
                f"the statistics of layer {name!r} need to fit its buffers, got "
                f"{statistic.abs().max():.3g} for {buffer.dtype}: keep them in float32, as in "
                "layer.running_var = layer.running_var.float()"
            )
    device = layer.running_mean.device
    return Population(mean.to(device), var.to(device), seen.batches, seen.rows)
