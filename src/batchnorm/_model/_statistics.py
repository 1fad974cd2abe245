"""Running statistics of a layer: which it has, and which it uses in evaluation."""

from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from batchnorm._model._find import is_batch_norm
from batchnorm._moments import Moments
from batchnorm.functional import Comoments
from batchnorm.nn import Layer
from batchnorm.nn._decorrelated import DecorrelatedLayer

_RUNNING = "running_"


class Population(NamedTuple):
    """Statistics of everything that reaches a layer.

    Attributes:
        mean: shape ``(C,)``.
        var: variance with the layer's correction, shape ``(C,)``; of a layer that decorrelates the
            covariance of each of G groups, shape ``(G, C / G, C / G)``.
    """

    mean: Tensor
    var: Tensor

    @property
    def variances(self) -> Tensor:
        """Variance of each channel."""
        return self.var if self.var.ndim == 1 else self.var.diagonal(dim1=-2, dim2=-1).flatten()


def population_of(moments: Moments | Comoments, correction: int) -> Population:
    """Return the statistics of what the moments are of."""
    return Population(moments.mean, Moments(*moments).variance(correction))


def correction_of(layer: _BatchNorm) -> int:
    """Return what the layer's running variance subtracts from the count; torch's is 1."""
    return layer.correction if isinstance(layer, Layer) else 1


def buffer_names(layer: _BatchNorm) -> tuple[str, str]:
    """Return the names of the buffers with the mean and the variance or covariance.

    Example:
        >>> buffer_names(nn.BatchNorm1d(3))
        ('running_mean', 'running_var')
    """
    covariance = isinstance(layer, DecorrelatedLayer)
    return "running_mean", "running_cov" if covariance else "running_var"


def buffers(layer: _BatchNorm) -> Population:
    """Return the buffers themselves, of a layer that has them."""
    mean, var = (getattr(layer, name) for name in buffer_names(layer))
    return Population(cast("Tensor", mean), cast("Tensor", var))


def has_buffers(layer: _BatchNorm) -> bool:
    """Return whether a layer has running statistics."""
    return all(getattr(layer, name) is not None for name in buffer_names(layer))


def set_buffers(layer: _BatchNorm, mean: Tensor | None, var: Tensor | None) -> None:
    """Put other buffers in their place; without any, a layer normalizes with the batch."""
    for name, value in zip(buffer_names(layer), (mean, var), strict=True):
        setattr(layer, name, value)


def in_use(layer: _BatchNorm) -> Population:
    """Return what the layer takes for the population's statistics in evaluation, in float64."""
    mean, var = buffers(layer)
    if isinstance(layer, Layer):
        mean, var = layer._population(mean, var)  # noqa: SLF001 -- what evaluation takes
    return Population(mean.double(), var.double())


def other_statistics(module: nn.Module) -> str:
    """Return which other kind of module keeps running statistics, or nothing where none is kept.

    Example:
        >>> other_statistics(nn.InstanceNorm1d(3, track_running_stats=True))
        'instance normalization, whose statistics are of single samples'
        >>> other_statistics(nn.BatchNorm1d(3))
        ''
    """
    held = dict(module._buffers.items())  # noqa: SLF001 -- a scripted one has no more than this
    kept = {name for name, value in held.items() if value is not None}
    if isinstance(module, _BatchNorm) or not any(name.startswith(_RUNNING) for name in kept):
        return ""
    if isinstance(module, _InstanceNorm):
        return "instance normalization, whose statistics are of single samples"
    if is_batch_norm(module):
        return "frozen: its class always normalizes with its own statistics"
    return f"{type(module).__name__} is a class whose statistics are not known here"
