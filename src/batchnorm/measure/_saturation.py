"""Saturation of a nonlinearity: where it is flat."""

import math
from typing import NamedTuple

from torch import Tensor, nn

from batchnorm.nn import Layer

_NEAR = 0.05  # of the range


class _Bounds(NamedTuple):
    low: float
    high: float
    near: float = 0.0  # how close counts as flat


def saturated(module: nn.Module, values: Tensor) -> float | None:
    """Return the share of the outputs where the module is flat; `None` where it has no bounds.

    Example:
        >>> import torch
        >>> saturated(nn.Sigmoid(), torch.tensor([0.5, 0.04, 0.96, 0.9]))
        0.5
        >>> saturated(nn.ReLU(), torch.tensor([0.0, 3.0]))
        0.5
    """
    bounds = _bounds(module)
    if bounds is None:
        return None
    flat = (values <= bounds.low + bounds.near) | (values >= bounds.high - bounds.near)
    return flat.double().mean().item()


def _bounds(module: nn.Module) -> _Bounds | None:
    match module:
        case nn.Sigmoid():
            return _Bounds(0.0, 1.0, _NEAR)
        case nn.Tanh() | nn.Softsign():
            return _Bounds(-1.0, 1.0, 2 * _NEAR)
        case nn.Hardsigmoid():
            return _Bounds(0.0, 1.0)
        case nn.Hardtanh():
            return _Bounds(module.min_val, module.max_val)
        case nn.ReLU() | Layer(activation="relu"):
            return _Bounds(0.0, math.inf)
        case _:
            return None
