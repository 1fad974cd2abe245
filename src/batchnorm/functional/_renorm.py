"""Batch renormalization: the scale and shift that bring a batch to the running statistics."""

import torch
from torch import Tensor

from batchnorm.errors import OptionError
from batchnorm.functional._batch_norm import normalize
from batchnorm.functional._checks import check_input, check_statistics


def renorm_corrections(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float = 1e-5,
    *,
    r_max: float | Tensor = 3.0,
    d_max: float | Tensor = 5.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return what normalizing with the batch lacks of normalizing with the running statistics.

    .. math::

        r = \mathrm{clip}_{[1/r_\max,\, r_\max]}\left(\frac{\sigma_B}{\sigma}\right) \qquad
        d = \mathrm{clip}_{[-d_\max,\, d_\max]}\left(\frac{\mu_B - \mu}{\sigma}\right)

    Where nothing is clipped, :math:`\frac{x - \mu_B}{\sigma_B}\, r + d = \frac{x - \mu}{\sigma}`.

    Args:
        x: input, shape ``(N, C, *)``.
        running_mean: :math:`\mu`, shape ``(C,)``.
        running_var: :math:`\sigma^2` without `eps`, shape ``(C,)``.
        eps: added to both variances, inside the square roots; positive.
        r_max: bound of r, at least 1; a number or a tensor of one.
        d_max: bound of d, not negative; likewise.
        mask: which positions are data, a bool of shape ``(N, *)``; `None` is all.
        sample_weight: how often each sample counts, shape ``(N,)``; `None` is 1.

    Returns:
        r, d and the batch's mean, all float64 ``(C,)`` and without a gradient. Where there are no
        values, 1, 0 and 0.

    Raises:
        ShapeError: as `normalize`.
        CountError: as `normalize`.
        ChannelError: a running statistic does not have one value per channel.
        OptionError: `r_max` is a number below 1, or `d_max` one below 0.

    References:
        Ioffe (2017), "Batch Renormalization: Towards Reducing Minibatch Dependence in
        Batch-Normalized Models", Algorithm 1.

    Example:
        >>> x = torch.tensor([[1.0], [5.0]])
        >>> r, d, mean = renorm_corrections(x, torch.tensor([2.0]), torch.ones(1))
        >>> round(r.item(), 4), round(d.item(), 4), mean.item()
        (2.0, 1.0, 3.0)
    """
    check_input(x, None, None)
    check_statistics(x, running_mean, running_var)
    if not isinstance(r_max, Tensor) and not isinstance(d_max, Tensor):
        check_renorm(r_max, d_max)
    _, batch = normalize(x.detach(), eps=eps, mask=mask, sample_weight=sample_weight)
    scale = (running_var.double() + eps).rsqrt()
    r = (batch.variance() + eps).sqrt() * scale
    d = (batch.mean - running_mean) * scale
    r = torch.clamp(r, 1.0 / r_max, r_max)  # type: ignore[arg-type] # a number or a tensor, both
    d = torch.clamp(d, -d_max, d_max)  # type: ignore[arg-type]
    some = batch.count > 0
    return torch.where(some, r, 1.0), torch.where(some, d, 0.0), batch.mean


def check_renorm(r_max: float, d_max: float) -> None:
    """Refuse bounds that leave nothing between them."""
    if not (r_max >= 1.0 and d_max >= 0.0):
        raise OptionError(
            f"r_max must be at least 1 and d_max at least 0, got {r_max} and {d_max}: "
            "1 and 0 are plain batch normalization, the usual values 3 and 5"
        )
