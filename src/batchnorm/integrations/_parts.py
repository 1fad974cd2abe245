"""Parts of a batch normalization layer, the same in every library, in our terms.

The converters give names to these parts; how a layer is built from them, and read, is here.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batchnorm import nn
from batchnorm._model._statistics import in_use
from batchnorm.errors import ChannelError, OptionError, ShapeError

Layer = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

_BY_NDIM: dict[int, type[Layer]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}
# Exact types: a subclass may compute something else.
_READABLE = {
    *_BY_NDIM.values(),
    torch.nn.BatchNorm1d,
    torch.nn.BatchNorm2d,
    torch.nn.BatchNorm3d,
}


@dataclass(frozen=True)
class Parts:
    """One layer.

    Attributes:
        mean: running mean, shape ``(C,)``; anything NumPy reads, or a tensor.
        var: running variance, shape ``(C,)``.
        weight: scale, shape ``(C,)``; `None` is 1, not learned.
        bias: shift, shape ``(C,)``; `None` is 0, not learned.
        eps: added to the variance, inside the square root.
        decay: weight of the old running statistics in a step, from 0 to 1.
        frozen: the running statistics are used, and left alone, in training too.
        affine_frozen: weight and bias are not learned either.
    """

    mean: Any
    var: Any
    weight: Any
    bias: Any
    eps: float
    decay: float
    frozen: bool = False
    affine_frozen: bool = False


def build(parts: Parts, ndim: int) -> Layer:
    """Return a layer of its own, with copies of the parts.

    Its numbers are float64 where one of the arrays is, and float32 otherwise.

    Raises:
        ShapeError: there is no layer for inputs of `ndim` dimensions, or `mean` is not ``(C,)``.
        ChannelError: another array does not have one value per channel.
        OptionError: `decay` is not from 0 to 1.
    """
    if ndim not in _BY_NDIM:
        raise ShapeError(
            f"expected inputs of 2 to 5 dimensions, batch and channels included, got ndim={ndim}: "
            "reshape the data so that what is beside the channels takes at most three"
        )
    if not 0 <= parts.decay <= 1:
        raise OptionError(
            f"expected a momentum from 0 to 1, the weight of the old statistics, "
            f"got {parts.decay}: give the other library's own value"
        )
    arrays = _arrays(parts)
    double = any(array.dtype == np.float64 for array in arrays.values())
    affine = "weight" in arrays or "bias" in arrays
    layer = _BY_NDIM[ndim](
        len(arrays["running_mean"]),
        float(parts.eps),
        complement(parts.decay),
        affine=affine,
        bias="bias" in arrays,
        dtype=torch.float64 if double else torch.float32,
        correction=0,
    )
    with torch.no_grad():
        for name, array in arrays.items():
            getattr(layer, name).copy_(torch.from_numpy(array.astype(np.float64)))
    if affine and "weight" not in arrays:
        layer.weight.requires_grad_(False)  # there is no bias without weight here
    return layer.freeze(parts.affine_frozen) if parts.frozen else layer


def read(layer: Any, library: str) -> Parts:
    """Return the parts of a layer, with its arrays copied to NumPy.

    Its running statistics are those that evaluation uses: without their start under `debias`.

    Raises:
        OptionError: the layer is of another type, or has what the library cannot say.
    """
    _check_readable(layer, library)
    mean, var = layer.running_mean, layer.running_var
    if isinstance(layer, Layer):  # and not one of torch's
        mean, var = (value.to(mean.dtype) for value in in_use(layer))
    return Parts(
        mean=_numpy(mean),
        var=_numpy(var),
        weight=None if _is_constant_one(layer) else _numpy(layer.weight),
        bias=None if layer.bias is None else _numpy(layer.bias),
        eps=layer.eps,
        decay=complement(layer.momentum),
        frozen=getattr(layer, "frozen", False),
        affine_frozen=not any(parameter.requires_grad for parameter in layer.parameters()),
    )


def complement(momentum: float) -> float:
    """Return 1 - momentum, taken in decimals.

    Example:
        >>> complement(0.99), 1 - 0.99
        (0.01, 0.010000000000000009)
    """
    return float(1 - Decimal(repr(float(momentum))))


def _check_readable(layer: Any, library: str) -> None:
    if type(layer) not in _READABLE:
        raise OptionError(
            f"expected a BatchNorm1d, 2d or 3d, got {type(layer).__name__}, which {library} may "
            "not have: build one of the three from its state first"
        )
    activation = getattr(layer, "activation", None)
    for unsayable, what, advice in (
        (
            layer.running_mean is None,
            "no running statistics",
            "keep them, track_running_stats=True",
        ),
        (layer.momentum is None, "momentum=None", "set layer.momentum to a number"),
        (
            activation is not None,
            f"activation={activation!r}",
            "set layer.activation to None, and put the activation behind the converted layer",
        ),
        (getattr(layer, "adapting", False), "adapting=True", "call layer.adapt(False) first"),
    ):
        if unsayable:
            raise OptionError(f"expected a layer that {library} has, got one with {what}: {advice}")


def _is_constant_one(layer: Any) -> bool:
    """Return whether the scale is 1 and is not learned, after `unfreeze` either."""
    weight = layer.weight
    if weight is None:
        return True
    learned = weight.requires_grad or getattr(layer, "affine_frozen", False)
    return not learned and bool((weight == 1).all())


def _arrays(parts: Parts) -> dict[str, NDArray[Any]]:
    given = {
        "running_mean": parts.mean,
        "running_var": parts.var,
        "weight": parts.weight,
        "bias": parts.bias,
    }
    arrays = {name: _numpy(value) for name, value in given.items() if value is not None}
    shape = arrays["running_mean"].shape
    if len(shape) != 1:
        raise ShapeError(
            f"expected a mean of shape (C,), got {shape}: give the statistics of one channel axis"
        )
    for name, array in arrays.items():
        if array.shape != shape:
            raise ChannelError(
                f"expected {name} of shape {shape}, as the mean has, got {array.shape}: "
                "take all arrays from one layer"
            )
    return arrays


def _numpy(value: Any) -> NDArray[Any]:
    """Return a copy as float64 if the value is, and otherwise as float32."""
    if isinstance(value, Tensor):
        value = value.detach().to("cpu", torch.promote_types(value.dtype, torch.float32)).numpy()
    array = np.asarray(value)
    return np.array(array, np.float64 if array.dtype == np.float64 else np.float32)
