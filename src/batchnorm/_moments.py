r"""Moments: how many values, their mean, and the sum of their squared deviations.

The one form of statistics that can be merged without loss. Training, synchronization between
processes and recalibration all merge with `Moments.merge`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from batchnorm import _axes


class Moments(NamedTuple):
    r"""Sufficient statistics of every channel, as float64 tensors.

    A named tuple, so that it is also a pytree: `torch.func` transforms and
    `torch.compile` pass it through.

    Attributes:
        count: values per channel, an int64 tensor of shape ``()``.
        mean: shape ``(C,)``.
        m2: :math:`\sum (x - \mathrm{mean})^2`, shape ``(C,)``.

    Example:
        >>> x = torch.tensor([[1.0], [3.0], [8.0]])
        >>> whole = Moments.of(x)
        >>> parts = Moments.of(x[:2]).merge(Moments.of(x[2:]))
        >>> parts.count.item(), parts.mean.item(), parts.m2.item()
        (3, 4.0, 26.0)
        >>> whole.variance(correction=1).item()
        13.0
    """

    count: Tensor  # type: ignore[assignment] # hides tuple.count, which nobody wants here
    mean: Tensor
    m2: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """Return the moments of an input.

        Args:
            x: shape ``(N, C, *)``, any floating dtype. An empty batch has mean and m2 0.
        """
        count = _axes.count(x.shape)
        if count == 0:
            zero = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
            return cls(torch.full((), 0, device=x.device), zero, zero.clone())
        # torch computes var_mean by Welford's algorithm; in float64 it is exact enough at any
        # offset a float32 input can have.
        var, mean = torch.var_mean(x.to(torch.float64), _axes.reduced(x.ndim), correction=0)
        return cls(torch.full((), count, device=x.device), mean, var * count)

    def merge(self, *others: "Moments") -> "Moments":
        r"""Return the moments of all the values together.

        .. math::

            n = \sum_i n_i \qquad
            \mathrm{mean} = \mathrm{mean}_0 +
                \frac{1}{n}\sum_i n_i (\mathrm{mean}_i - \mathrm{mean}_0) \qquad
            m_2 = \sum_i m_{2,i} + n_i (\mathrm{mean}_i - \mathrm{mean})^2

        Args:
            others: moments of the same number of channels.

        References:
            Chan, Golub and LeVeque (1979), "Updating Formulae and a Pairwise Algorithm for
            Computing Sample Variances", equation 2.1, for any number of parts.
        """
        if not others:
            return self
        count = torch.stack([part.count for part in (self, *others)])
        mean = torch.stack([part.mean for part in (self, *others)])
        m2 = torch.stack([part.m2 for part in (self, *others)])
        total = count.sum(0)
        # The division of two integer tensors would be float32.
        n = count.to(torch.float64).reshape(-1, *(1,) * (mean.ndim - 1))
        merged = self.mean + (n * (mean - self.mean)).sum(0) / total.clamp(min=1)
        return Moments(total, merged, (m2 + n * (mean - merged).square()).sum(0))

    def variance(self, correction: int = 0) -> Tensor:
        """Return the variance, ``m2 / (count - correction)``.

        Args:
            correction: 0 for the biased variance, which normalization uses; 1 for the
                unbiased one, which the running buffers store.

        Returns:
            Shape ``(C,)``, float64; NaN where the count does not exceed the correction.
        """
        degrees = (self.count - correction).to(torch.float64)
        return self.m2 / torch.where(degrees > 0, degrees, torch.nan)
