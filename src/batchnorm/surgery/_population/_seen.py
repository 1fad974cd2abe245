"""Sufficient statistics of a layer's input, and the population statistics that follow from them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from batchnorm._model._statistics import population_of
from batchnorm._moments import Moments
from batchnorm.functional import Comoments

Parts = Moments | Comoments


class Seen(NamedTuple):
    """What has been seen of one layer's input; empty before the first batch.

    Attributes:
        batches: number of batches that reached the layer.
        rows: number of examples, the first dimension of its inputs.
        parts: what the method keeps.
    """

    batches: int = 0
    rows: int = 0
    parts: tuple[Parts, ...] = ()

    def merge(self, *others: "Seen") -> "Seen":
        """Return what all have seen together."""
        everything = [seen for seen in (self, *others) if seen.batches]
        if not everything:
            return self
        parts = zip(*(seen.parts for seen in everything), strict=True)
        return Seen(
            sum(seen.batches for seen in everything),
            sum(seen.rows for seen in everything),
            tuple(merged(*each) for each in parts),
        )

    def words(self) -> str:
        """Return its size in words.

        Example:
            >>> Seen(batches=1, rows=32).words()
            '32 rows, 1 batch'
        """
        return f"{self.rows} rows, {self.batches} batch{'es' * (self.batches != 1)}"

    def to(self, device: torch.device | str) -> "Seen":
        """Return the same on another device."""
        parts = (type(part)(*(tensor.to(device) for tensor in part)) for part in self.parts)
        return self._replace(parts=tuple(parts))


class Method(NamedTuple):
    """A way to estimate population statistics. Both keep moments, which merge over anything.

    Attributes:
        keep: what is kept of the moments of a batch.
        estimate: mean and variance, from what was kept of all batches.

    Both take the correction of the variance last: 1 for the unbiased one.
    """

    keep: Callable[[Parts, int], tuple[Parts, ...]]
    estimate: Callable[[tuple[Parts, ...], int], tuple[Tensor, Tensor]]


def merged(first: Any, *rest: Any) -> Parts:
    """Return moments of one kind together."""
    merged: Parts = first.merge(*rest)
    return merged


def _whole(moments: Parts, _: int) -> tuple[Parts, ...]:
    return (moments,)


def _of_the_whole(parts: tuple[Parts, ...], correction: int) -> tuple[Tensor, Tensor]:
    (moments,) = parts
    return population_of(moments, correction)


def _as_single_values(moments: Parts, correction: int) -> tuple[Parts, ...]:
    """Take the mean and the variance of a batch as one value each."""
    one = torch.ones_like(moments.count)
    means, variances = population_of(moments, correction)
    return (
        Moments(one, means, torch.zeros_like(means)),
        Moments(one, variances, torch.zeros_like(variances)),
    )


def _averages(parts: tuple[Parts, ...], _: int) -> tuple[Tensor, Tensor]:
    means, variances = parts
    return means.mean, variances.mean


METHODS = {
    "exact": Method(_whole, _of_the_whole),
    "algorithm-2": Method(_as_single_values, _averages),
}
