"""Affine map of a layer that normalizes with population statistics: ``scale * x + shift``."""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm import _axes
from batchnorm._model._statistics import in_use
from batchnorm.nn import Layer

_FORWARDS = (_BatchNorm.forward, nn.SyncBatchNorm.forward, Layer.forward)
_TOLERANCE = 1e-9
_FAR = 1e3  # in units of what makes a value zero: past any kink of an activation
PARTS = ("drop", "act")  # names of what some packages' layers have inside, in this order


class Affine(NamedTuple):
    """An affine map of every channel.

    Attributes:
        scale: shape ``(C,)``, float64.
        shift: shape ``(C,)``, float64.
    """

    scale: Tensor
    shift: Tensor


def keeps_statistics(norm: nn.Module) -> bool:
    """Return whether a layer has running statistics.

    Example:
        >>> keeps_statistics(nn.BatchNorm1d(3, track_running_stats=False))
        False
    """
    mean, var = (getattr(norm, name, None) for name in ("running_mean", "running_var"))
    return isinstance(mean, Tensor) and isinstance(var, Tensor)


def affine_of(norm: nn.Module, shape: tuple[int, ...]) -> Affine | None:
    """Return the affine map that a layer is in the mode it is in, or `None` where it is none.

    A layer of torch or of ours is read; what ours do after normalizing is left out. A layer of
    another class is measured on a copy in float64.

    Args:
        norm: a layer with running statistics.
        shape: of an input that it takes and of its output, ``(N, C, *)``.

    Example:
        >>> layer = nn.BatchNorm1d(1, eps=0.0).eval()
        >>> _ = layer.running_mean.fill_(3.0), layer.running_var.fill_(4.0)
        >>> scale, shift = affine_of(layer, (8, 1))
        >>> scale.item(), shift.item()
        (0.5, -1.5)
        >>> affine_of(layer.train(), (8, 1))
    """
    forward = vars(norm).get("forward", type(norm).forward)
    if isinstance(norm, _BatchNorm) and forward in _FORWARDS:
        return _read(norm) if _takes_population(norm) else None
    return _measured(norm, shape)


class Split(NamedTuple):
    """A layer taken apart.

    Attributes:
        affine: what it does first.
        rest: its own modules that follow.
    """

    affine: Affine
    rest: nn.Module


def split_of(norm: nn.Module, shape: tuple[int, ...]) -> Split | None:
    """Return the affine map and the activation that a layer with an activation inside is.

    Such as timm's `BatchNormAct2d`, whose parts are called ``drop`` and ``act``.

    Args:
        norm: a layer with running statistics, in the mode it is in.
        shape: as for `affine_of`.

    Example:
        >>> split_of(nn.BatchNorm2d(3).eval(), (2, 3, 4, 4)) is None  # it has none inside
        True
    """
    parts = activation_parts(norm)
    if parts is None:
        return None
    bare: Any = copy.deepcopy(norm)
    for name in bare._modules:  # noqa: SLF001 -- where torch keeps them
        bare._modules[name] = nn.Identity()  # noqa: SLF001
    affine = affine_of(bare, shape)
    if affine is None:
        return None
    whole, rest = copy.deepcopy(norm).double(), copy.deepcopy(parts).double()
    with torch.no_grad(), torch.random.fork_rng([]):
        x = torch.randn((2, *shape[1:]), generator=torch.Generator().manual_seed(0))
        x = x.to(affine.scale)
        column = _axes.broadcast(shape[1], len(shape))
        expected = rest(x * affine.scale.reshape(column) + affine.shift.reshape(column))
        same = torch.allclose(whole(x), expected, _TOLERANCE, _TOLERANCE)
    return Split(affine, parts) if same else None


def activation_parts(norm: nn.Module) -> nn.Module | None:
    """Return the modules inside a layer that follow its normalization, as one.

    Example:
        >>> layer = nn.BatchNorm2d(3)
        >>> layer.drop, layer.act = nn.Identity(), nn.ReLU()
        >>> activation_parts(layer)
        ReLU()
    """
    held = norm._modules  # noqa: SLF001 -- where torch keeps them
    if isinstance(norm, torch.jit.ScriptModule) or not held or not held.keys() <= set(PARTS):
        return None
    parts = [held[name] for name in PARTS if held.get(name) is not None]
    some = [part for part in parts if part is not None and type(part) is not nn.Identity]
    if not some:
        return None
    return some[0] if len(some) == 1 else nn.Sequential(*some)


def _takes_population(norm: _BatchNorm) -> bool:
    if isinstance(norm, Layer):
        return not norm.adapting and (norm.frozen or not norm.training)
    return not norm.training


@torch.no_grad()
def _read(norm: _BatchNorm) -> Affine:
    mean, var = in_use(norm)
    scale = (var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = norm.weight.double() * scale
    shift = -mean * scale
    return Affine(scale, shift if norm.bias is None else norm.bias.double() + shift)


@torch.no_grad()
def _measured(norm: nn.Module, shape: tuple[int, ...]) -> Affine | None:
    """Measure around the layer's own mean, where its values are, and try it on random ones."""
    twin: Any = copy.deepcopy(norm).double()
    if twin.running_mean.shape != shape[1:2]:
        return None
    column = _axes.broadcast(shape[1], len(shape))
    mean, std = (v.reshape(column) for v in (twin.running_mean, twin.running_var.sqrt()))
    std = torch.where(std > 0, std, 1.0)
    # Two samples: one value per channel would have no batch statistics to be told from.
    noise = torch.randn((2, *shape[1:]), generator=torch.Generator().manual_seed(0)).to(mean)
    high, low = (_of_each_channel(twin(mean + side * std + 0 * noise)) for side in (1.0, -1.0))
    scale = (high - low) / (2 * std.flatten())
    found = Affine(scale, (high + low) / 2 - scale * mean.flatten())
    # A kink, as of an activation, may be beyond the usual values.
    spread = (std * found.scale.reshape(column)).abs()
    far = 1 + found.shift.reshape(column).abs() / torch.where(spread > 0, spread, 1.0)
    for width in (1.0, _FAR * far):
        x = mean + std * noise * width
        expected = x * found.scale.reshape(column) + found.shift.reshape(column)
        if not torch.allclose(twin(x), expected, _TOLERANCE, _TOLERANCE):
            return None
    return found


def _of_each_channel(y: Tensor) -> Tensor:
    """Return the first value of every channel."""
    return y[0].flatten(1)[:, 0] if y.ndim > 2 else y[0]  # noqa: PLR2004 -- (N, C) has no space
