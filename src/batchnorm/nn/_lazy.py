"""Lazy layers, which take their number of channels from the first input.

They have our forward already, because torch binds the forward of the first call before the class
changes.
"""

from typing import Any

import torch

from batchnorm.functional._options import options_of
from batchnorm.nn._batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from batchnorm.nn._layer import Device, Layer


class _LazyLayer(Layer):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
        activation: str | None = None,
        negative_slope: float = 0.01,
        nonfinite: str = "skip",
        debias: bool = False,
        correction: int = 1,
    ) -> None:
        options = activation, negative_slope, nonfinite, correction
        options_of(*options)
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        if not bias:
            place["bias"] = False
        # Past our own constructor, which needs to know the number of channels.
        super(Layer, self).__init__(eps, momentum, affine, track_running_stats, **place)  # type: ignore[arg-type]
        self._configure(options, debias)


class LazyBatchNorm1d(_LazyLayer, torch.nn.LazyBatchNorm1d):
    """A `BatchNorm1d` whose `num_features` is the first input's number of channels.

    Arguments as in `BatchNorm1d`, without `num_features`. After the first forward, or after
    loading a `state_dict`, it is a `BatchNorm1d`.

    Example:
        >>> layer = LazyBatchNorm1d()
        >>> layer(torch.randn(8, 3)).shape, type(layer).__name__
        (torch.Size([8, 3]), 'BatchNorm1d')
    """

    _ndims = (2, 3)
    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyLayer, torch.nn.LazyBatchNorm2d):
    """A `BatchNorm2d` whose `num_features` is the first input's number of channels.

    Example:
        >>> layer = LazyBatchNorm2d()
        >>> layer(torch.randn(2, 3, 5, 5)).shape, type(layer).__name__
        (torch.Size([2, 3, 5, 5]), 'BatchNorm2d')
    """

    _ndims = (4,)
    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyLayer, torch.nn.LazyBatchNorm3d):
    """A `BatchNorm3d` whose `num_features` is the first input's number of channels.

    Example:
        >>> layer = LazyBatchNorm3d()
        >>> layer(torch.randn(2, 3, 4, 5, 5)).shape, type(layer).__name__
        (torch.Size([2, 3, 4, 5, 5]), 'BatchNorm3d')
    """

    _ndims = (5,)
    cls_to_become = BatchNorm3d
