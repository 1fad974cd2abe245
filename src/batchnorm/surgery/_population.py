"""Population statistics of a layer: from what it has seen to what its buffers hold."""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm.errors import CountError, DataError

from ._seen import Method, Seen
from ._targets import Layers


class Population(NamedTuple):
    """Statistics of everything that reaches a layer.

    Attributes:
        mean: shape ``(C,)``, float64.
        var: unbiased variance, shape ``(C,)``, float64.
    """

    mean: Tensor
    var: Tensor


def buffers(layer: _BatchNorm) -> Population:
    """Return the buffers themselves of a layer that has them."""
    return Population(cast("Tensor", layer.running_mean), cast("Tensor", layer.running_var))


def estimated(layers: Layers, method: Method, seen: dict[str, Seen]) -> dict[str, Population]:
    """Return the statistics that follow from what the layers have seen, where they have.

    Raises:
        DataError: no layer has seen anything, or a statistic is too large for a layer's buffers.
        CountError: there are too few values for a variance.
    """
    found = {
        name: Population(*method.estimate(*seen[name].parts))
        for name in layers
        if name in seen and seen[name].batches
    }
    if not found:
        raise DataError(
            "batches must give at least one batch that reaches one of the layers "
            f"{', '.join(map(repr, layers))}, got none: look at the data (a generator gives its "
            "batches only once) and at what the model calls; nothing was changed"
        )
    for name, population in found.items():
        if not torch.isfinite(population.var).all():
            raise CountError(
                f"layer {name!r} needs more than one value per channel to have a variance (for "
                f"algorithm-2 in every batch), got {seen[name].rows} rows in "
                f"{seen[name].batches} batches: give more data; nothing was changed"
            )
        _check_fit(name, layers[name], population)
    return found


def _check_fit(name: str, layer: _BatchNorm, population: Population) -> None:
    for statistic, buffer in zip(population, buffers(layer), strict=True):
        if not torch.isfinite(statistic.to(buffer.dtype)).all():
            raise DataError(
                f"the statistics of layer {name!r} must fit its {buffer.dtype} buffers, got "
                f"{statistic.abs().max():.3g}: keep the layer in float32; nothing was changed"
            )


def write(
    layer: _BatchNorm, found: Population, copy: Callable[[Tensor, Tensor], object] = Tensor.copy_
) -> None:
    """Put population statistics into the buffers of a layer, with `copy`."""
    for buffer, statistic in zip(buffers(layer), found, strict=True):
        copy(buffer, statistic)


def moved(layer: _BatchNorm, found: Population) -> str:
    """Say how far the layer's statistics are from others."""
    mean, var = (buffer.to(torch.float64).cpu() for buffer in buffers(layer))
    std = (found.var.cpu() + layer.eps).sqrt()
    steps = ((found.mean.cpu() - mean).abs() / std).max()
    ratio = (found.var.cpu() + layer.eps) / (var + layer.eps)
    factor = torch.maximum(ratio, 1 / ratio).max()
    return f"mean moved by up to {steps:.2g} std, variance by a factor of up to {factor:.3g}"
