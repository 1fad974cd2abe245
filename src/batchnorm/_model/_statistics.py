"""Running statistics of a layer, as it uses them in evaluation."""

from typing import NamedTuple, cast

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm.nn import Layer


class Population(NamedTuple):
    """Statistics of everything that reaches a layer.

    Attributes:
        mean: shape ``(C,)``.
        var: variance with the layer's correction, shape ``(C,)``.
    """

    mean: Tensor
    var: Tensor


def correction_of(layer: _BatchNorm) -> int:
    """Return what the layer's running variance subtracts from the count; torch's is 1."""
    return layer.correction if isinstance(layer, Layer) else 1


def buffers(layer: _BatchNorm) -> Population:
    """Return the buffers themselves, of a layer that has them."""
    return Population(cast("Tensor", layer.running_mean), cast("Tensor", layer.running_var))


def in_use(layer: _BatchNorm) -> Population:
    """Return what the layer takes for the population's statistics in evaluation, in float64."""
    mean, var = buffers(layer)
    if isinstance(layer, Layer):
        mean, var = layer._population(mean, var)  # noqa: SLF001 -- what evaluation takes
    return Population(mean.double(), var.double())
