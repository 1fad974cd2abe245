"""Population statistics of a layer: estimated from its inputs, written to its buffers."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm._model._statistics import (
    Population,
    buffers,
    correction_of,
    in_use,
)
from batchnorm.errors import CountError, DataError
from batchnorm.surgery._population._seen import Method, Seen
from batchnorm.surgery._population._targets import Layers


def estimated(layers: Layers, method: Method, seen: dict[str, Seen]) -> dict[str, Population]:
    """Return the statistics that follow from what the layers have seen, where they have.

    Raises:
        DataError: no layer has seen anything, or a statistic is too large for a layer's buffers.
        CountError: there are too few values for a variance.
    """
    found = {
        name: Population(*method.estimate(seen[name].parts, correction_of(layer)))
        for name, layer in layers.items()
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
                f"algorithm-2 in every batch), got {seen[name].words()}: give more data; "
                "nothing was changed"
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
    layer: _BatchNorm,
    population: Population,
    batches: int | None,
    copy: Callable[[Tensor, Tensor], object] = Tensor.copy_,
) -> None:
    """Put population statistics into the buffers of a layer.

    Args:
        layer: has running statistics.
        population: what it will take for them.
        batches: their number, for the layer's counter; `None` leaves it.
        copy: writes a tensor into another.
    """
    for buffer, statistic in zip(buffers(layer), population, strict=True):
        copy(buffer, statistic)
    counter = layer.num_batches_tracked
    if counter is not None and batches is not None:
        copy(counter, torch.tensor(batches))


def distance_in_words(layer: _BatchNorm, population: Population) -> str:
    """Return in words how far the layer's statistics are from others."""
    old, new = ((each.mean.cpu(), each.variances.cpu()) for each in (in_use(layer), population))
    steps = (new[0] - old[0]).abs() / (new[1] + layer.eps).sqrt()
    ratio = (new[1] + layer.eps) / (old[1] + layer.eps)
    factor = torch.maximum(ratio, 1 / ratio)
    return f"mean moved {steps.max():.2g} std, variance {factor.max():.3g}-fold at most"
