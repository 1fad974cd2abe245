"""Running statistics: their update by the moments of a batch, and their start taken out."""

from typing import Any

import torch
from torch import Tensor

from batchnorm import ops
from batchnorm._moments import Moments
from batchnorm.errors import ChannelError, DTypeError, OptionError
from batchnorm.functional._checks import check_finite
from batchnorm.functional._options import options_of


def update_running_(
    running_mean: Tensor,
    running_var: Tensor,
    moments: Moments,
    momentum: float | Tensor | None = 0.1,
    *,
    num_batches_tracked: Tensor | None = None,
    batches_skipped: Tensor | None = None,
    nonfinite: str = "skip",
    correction: int = 1,
) -> None:
    """Move running statistics towards the moments of a batch, in place.

    What `batch_norm` does in training, apart: for moments from `normalize`, or merged from several
    micro-batches.

    Args:
        running_mean: running mean, shape ``(C,)``.
        running_var: running variance, shape ``(C,)``.
        moments: of the batch.
        momentum: weight of the batch; `None` gives all batches so far equal weight, and needs
            `num_batches_tracked`.
        num_batches_tracked: goes up by one; an int64 of shape ``()``.
        batches_skipped: goes up by one when `nonfinite` skips the batch.
        nonfinite: ``skip``, ``propagate`` or ``raise``, as in `batch_norm`.
        correction: as in `batch_norm`.

    Raises:
        ChannelError: running statistics and moments have not the same channels.
        DTypeError: a running statistic is no tensor of a floating dtype.
        NonFiniteError: a moment is not finite, under ``nonfinite="raise"``.
        OptionError: an unknown `nonfinite` or `correction`; or `momentum` is `None` without a
            counter.

    Note:
        Moments of no more values than `correction` change nothing.

    Example:
        >>> mean, var = torch.zeros(1), torch.ones(1)
        >>> update_running_(mean, var, Moments.of(torch.tensor([[1.0], [3.0]])), momentum=0.5)
        >>> mean, var
        (tensor([1.]), tensor([1.5000]))
    """
    var = moments.variance()
    _check_running(running_mean, running_var, moments.mean.shape, var.shape)
    options = options_of(nonfinite=nonfinite, correction=correction)
    running = options.running(
        running_mean, running_var, num_batches_tracked, batches_skipped, momentum
    )
    if nonfinite == "raise":
        check_finite(moments.mean, var)
    if running is not None:
        ops.update_(running, moments.mean, var, moments.count)


def _check_running(mean: Any, var: Any, *shapes: torch.Size) -> None:
    """Refuse running statistics that are none."""
    for name, found in (("running_mean", mean), ("running_var", var)):
        if not isinstance(found, Tensor) or not found.is_floating_point():
            came = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise DTypeError(
                f"{name} needs to be a tensor of a floating dtype, got {came}: "
                "give a layer's buffer"
            )
    wanted = shapes or (mean.shape, mean.shape)
    if (mean.shape, var.shape) != wanted:
        raise ChannelError(
            "running_mean and running_var need shapes "
            f"{tuple(wanted[0])} and {tuple(wanted[1])}, got {tuple(mean.shape)} and "
            f"{tuple(var.shape)}: give those of the layer whose input it is"
        )


def debiased(
    running_mean: Tensor, running_var: Tensor, gathered: float | Tensor
) -> tuple[Tensor, Tensor]:
    r"""Return the running statistics without what is left in them of their start, 0 and 1.

    .. math::

        \hat\mu = \frac{\mu}{g} \qquad \hat\sigma^2 = \frac{\sigma^2 - (1 - g)}{g} \qquad
        g = 1 - \prod_t (1 - \mathrm{momentum}_t)

    Args:
        running_mean: running mean, shape ``(C,)``.
        running_var: running variance, shape ``(C,)``.
        gathered: g, the weight of all batches in them; each moves it as it moves an average that
            starts at 0 and meets 1: ``g += momentum * (1 - g)``.

    Returns:
        Mean and variance, ``(C,)``, float64: the weighted average over the batches, exact from
        the first one on but for the rounding of the buffers. With g = 0, what was given.

    Raises:
        ChannelError: the two have not one shape.
        DTypeError: one is no tensor of a floating dtype.
        OptionError: `gathered` is not from 0 to 1.

    References:
        Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", section 3, for
        averages that start at 0.

    Example:
        >>> mean, var = torch.zeros(1), torch.ones(1)
        >>> x = 50 + 3 * torch.randn(10_000, 1)
        >>> update_running_(mean, var, Moments.of(x), momentum=0.1)
        >>> mean.item() < 6, var.item() < 3
        (True, True)
        >>> mean, var = debiased(mean, var, 0.1)
        >>> round(mean.item()), round(var.item())
        (50, 9)
    """
    _check_running(running_mean, running_var)
    mean, var = running_mean.double(), running_var.double()
    if not isinstance(gathered, Tensor):
        if not 0.0 <= gathered <= 1.0:
            raise OptionError(
                f"gathered must be from 0 to 1, the weight of all batches, got {gathered}: "
                "start at 0 and add momentum * (1 - gathered) with each batch"
            )
        gathered = torch.full((), gathered, dtype=torch.float64, device=mean.device)
    weight = torch.where(gathered > 0.0, gathered.double(), 1.0)
    # The buffers are rounded, so a variance near 0 may come out below it.
    return mean / weight, ((var - (1.0 - weight)) / weight).clamp(min=0.0)
