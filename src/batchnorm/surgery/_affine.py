"""What normalization with population statistics does: ``scale * x + shift`` in every channel."""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm import _axes
from batchnorm import nn as ours

_TORCHS = (_BatchNorm.forward, nn.SyncBatchNorm.forward)
_OURS = ours.BatchNorm1d.forward
_TOLERANCE = 1e-9


class Affine(NamedTuple):
    """An affine map of every channel.

    Attributes:
        scale: shape ``(C,)``, float64.
        shift: shape ``(C,)``, float64.
    """

    scale: Tensor
    shift: Tensor


def affine_of(norm: nn.Module, shape: tuple[int, ...]) -> Affine | None:
    """Return the affine map that a layer is in the mode it is in, or `None` where it is none.

    In evaluation, a layer of torch or of ours is read. One of another class is measured on a copy
    in float64, and so is one of ours in training, which may be frozen. What our layers do after
    normalizing is left out.

    Args:
        norm: a layer that `normalizes_batches`.
        shape: of an input that it takes, ``(N, C, *)``.

    Example:
        >>> layer = nn.BatchNorm1d(1, eps=0.0).eval()
        >>> _ = layer.running_mean.fill_(3.0), layer.running_var.fill_(4.0)
        >>> scale, shift = affine_of(layer, (8, 1))
        >>> scale.item(), shift.item()
        (0.5, -1.5)
        >>> affine_of(layer.train(), (8, 1))
    """
    forward = vars(norm).get("forward", type(norm).forward)
    if isinstance(norm, _BatchNorm) and not norm.training and forward in (*_TORCHS, _OURS):
        mean, var = norm.running_mean, norm.running_var
        return None if mean is None or var is None else _read(mean, var, norm)
    return None if forward in _TORCHS else _measured(norm, shape)


@torch.no_grad()
def _read(mean: Tensor, var: Tensor, norm: _BatchNorm) -> Affine:
    scale = (var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = norm.weight.double() * scale
    shift = -mean.double() * scale
    return Affine(scale, shift if norm.bias is None else norm.bias.double() + shift)


@torch.no_grad()
def _measured(norm: nn.Module, shape: tuple[int, ...]) -> Affine | None:
    twin: Any = copy.deepcopy(norm).double()
    if type(twin).forward is _OURS:
        twin.activation = None
    # Two samples: one value per channel would have no batch statistics to be told from.
    x = torch.randn((2, *shape[1:]), generator=torch.Generator().manual_seed(0)).double()
    x = x.to(twin.running_mean.device)
    high, low = (_of_each_channel(twin(torch.full_like(x, value))) for value in (1.0, -1.0))
    found = Affine((high - low) / 2, (high + low) / 2)
    column = _axes.broadcast(shape[1], len(shape))
    expected = x * found.scale.reshape(column) + found.shift.reshape(column)
    return found if torch.allclose(twin(x), expected, _TOLERANCE, _TOLERANCE) else None


def _of_each_channel(y: Tensor) -> Tensor:
    """Return the first value of every channel."""
    return y[0].flatten(1)[:, 0] if y.ndim > 2 else y[0]  # noqa: PLR2004 -- (N, C) has no space
