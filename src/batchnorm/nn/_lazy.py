"""Layers that learn their number of channels from the first input they see.

They have our forward already, because torch binds the forward of the first call before the class
changes.
"""

import torch

from ._batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from ._layer import Layer


class LazyBatchNorm1d(Layer, torch.nn.LazyBatchNorm1d):
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


class LazyBatchNorm2d(Layer, torch.nn.LazyBatchNorm2d):
    """A `BatchNorm2d` whose `num_features` is the first input's number of channels.

    Example:
        >>> layer = LazyBatchNorm2d()
        >>> layer(torch.randn(2, 3, 5, 5)).shape, type(layer).__name__
        (torch.Size([2, 3, 5, 5]), 'BatchNorm2d')
    """

    _ndims = (4,)
    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(Layer, torch.nn.LazyBatchNorm3d):
    """A `BatchNorm3d` whose `num_features` is the first input's number of channels.

    Example:
        >>> layer = LazyBatchNorm3d()
        >>> layer(torch.randn(2, 3, 4, 5, 5)).shape, type(layer).__name__
        (torch.Size([2, 3, 4, 5, 5]), 'BatchNorm3d')
    """

    _ndims = (5,)
    cls_to_become = BatchNorm3d
