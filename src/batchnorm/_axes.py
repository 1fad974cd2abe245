"""Axes of channels and of statistics: tensors are ``(N, C, *)``, channels are dimension 1."""

import math
from collections.abc import Sequence


def reduced(ndim: int) -> tuple[int, ...]:
    """Return the dimensions that a channel's statistics are taken over.

    Example:
        >>> reduced(4)
        (0, 2, 3)
    """
    return (0, *range(2, ndim))


def broadcast(channels: int, ndim: int) -> tuple[int, ...]:
    """Return the shape that lines a ``(C,)`` vector up with an input of `ndim` dimensions.

    Example:
        >>> broadcast(16, 4)
        (1, 16, 1, 1)
    """
    return (1, channels, *(1,) * (ndim - 2))


def count(shape: Sequence[int]) -> int:
    """Return the number of values per channel, N·prod(spatial).

    Example:
        >>> count((8, 16, 7, 7))
        392
    """
    return shape[0] * math.prod(shape[2:])
