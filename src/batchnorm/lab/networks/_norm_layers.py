"""Normalization layers by name: batch, ghost, group, L1 and others."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from batchnorm.errors import OptionError
from batchnorm.lab.design import Settings
from batchnorm.nn import (
    BatchNorm1d,
    BatchNorm2d,
    BatchRenorm1d,
    BatchRenorm2d,
    GhostBatchNorm1d,
    GhostBatchNorm2d,
    RenormWarmup,
)

_EPS = 1e-5
_CHANNELS_OF_A_GROUP, _GHOST = 8, 16


def normalization(kind: str, channels: int, dimensions: int, settings: Settings) -> nn.Module:
    """Return a normalization.

    Args:
        kind: one of `KINDS`.
        channels: number of channels, axis 1 of its input.
        dimensions: 1 for vectors ``(N, C)``, 2 for images ``(N, C, H, W)``.
        settings: those of the trial.

    Raises:
        OptionError: there is no such kind.
    """
    if kind not in KINDS:
        raise OptionError(f"needed a normalization out of {', '.join(KINDS)}, got {kind!r}")
    return KINDS[kind](channels, dimensions, settings)


def _batch(channels: int, dimensions: int, settings: Settings) -> nn.Module:  # noqa: ARG001
    return BatchNorm1d(channels) if dimensions == 1 else BatchNorm2d(channels)


def _ghost(channels: int, dimensions: int, settings: Settings) -> nn.Module:  # noqa: ARG001
    kind = GhostBatchNorm1d if dimensions == 1 else GhostBatchNorm2d
    return kind(channels, _GHOST)


def _renorm(channels: int, dimensions: int, settings: Settings) -> nn.Module:
    """Open the bounds between a twentieth and a quarter of the trial."""
    steps = int(settings["steps"])
    plain, end = steps // 20, steps // 4 + 1
    kind = BatchRenorm1d if dimensions == 1 else BatchRenorm2d
    return kind(channels, warmup=RenormWarmup(plain, end, end))


def _group(channels: int, dimensions: int, settings: Settings) -> nn.Module:  # noqa: ARG001
    most = max(channels // _CHANNELS_OF_A_GROUP, 1)
    groups = next(g for g in range(most, 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def _layer(channels: int, dimensions: int, settings: Settings) -> nn.Module:  # noqa: ARG001
    return nn.GroupNorm(1, channels)


def _power(order: float, channels: int, dimensions: int, settings: Settings) -> nn.Module:  # noqa: ARG001
    return PowerNorm(channels, order)


def _noisy(channels: int, dimensions: int, settings: Settings) -> nn.Module:
    return nn.Sequential(_batch(channels, dimensions, settings), ShiftingNoise(channels))


KINDS: dict[str, Callable[[int, int, Settings], nn.Module]] = {
    "batch": _batch,
    "ghost": _ghost,
    "renorm": _renorm,
    "group": _group,
    "layer": _layer,
    "l1": partial(_power, 1.0),
    "l2": partial(_power, 2.0),
    "linf": partial(_power, float("inf")),
    "noisy": _noisy,
}


class PowerNorm(nn.Module):
    r"""Normalization of each channel by the average Lp norm of its batch.

    .. math::

        y = w \frac{x - \mu}{(\mathrm{mean}\,|x|^p)^{1/p} + \epsilon} + b

    where p = infinity takes the largest value. The norm is that of the input before its mean is
    subtracted. In evaluation, running averages take the place of the mean and of the norm.

    Args:
        channels: number of channels, axis 1 of the input.
        order: p.
        momentum: weight of the new batch in the running averages.

    References:
        Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?", section 3.3.

    Example:
        >>> y = PowerNorm(1, order=1.0)(torch.tensor([[1.0], [3.0]]))
        >>> [round(value, 3) for value in y.flatten().tolist()]
        [-0.5, 0.5]
    """

    running_mean: Tensor
    running_norm: Tensor

    def __init__(self, channels: int, order: float, momentum: float = 0.1) -> None:
        super().__init__()
        self.order, self.momentum = order, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_norm", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        if self.training:
            values = x.transpose(0, 1).flatten(1)
            mean, norm = values.mean(1), self._norm(values)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_norm.lerp_(norm, self.momentum)
        else:
            mean, norm = self.running_mean, self.running_norm
        shape = (1, -1, *([1] * (x.ndim - 2)))
        scale = self.weight / (norm + _EPS)
        return (x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)

    def _norm(self, values: Tensor) -> Tensor:
        if self.order == float("inf"):
            return values.abs().amax(1)
        return values.abs().pow(self.order).mean(1).pow(1 / self.order)


class ShiftingNoise(nn.Module):
    """Shift and scale activations in training by noise whose distribution changes at every step.

    For each unit a mean is drawn from U(-0.5, 0.5) and a deviation from U(1, 1.25); then for each
    of its values m is drawn from U(mean - 0.1, mean + 0.1) and s from N(deviation, 0.1), and the
    value a becomes s a + m. In evaluation nothing is changed.

    Args:
        channels: number of channels, axis 1 of the input. Each position of an image is a unit.

    References:
        Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?", Algorithm 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return ``s * x + m``."""
        if not self.training:
            return x
        unit = x[:1]
        mean = torch.rand_like(unit) - 0.5
        deviation = 1 + 0.25 * torch.rand_like(unit)
        shift = mean + 0.2 * torch.rand_like(x) - 0.1
        return (deviation + 0.1 * torch.randn_like(x)) * x + shift
