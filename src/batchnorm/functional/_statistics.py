"""Running statistics: their update by the moments of a batch, and their start taken out."""

import torch
from torch import Tensor

from batchnorm import ops
from batchnorm._moments import Moments
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
    options = options_of(nonfinite=nonfinite, correction=correction)
    running = options.running(
        running_mean, running_var, num_batches_tracked, batches_skipped, momentum
    )
    var = moments.variance()
    if nonfinite == "raise":
        check_finite(moments.mean, var)
    if running is not None:
        ops.update_(running, moments.mean, var, moments.count)


def debiased(
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
    momentum: float | None = 0.1,
) -> tuple[Tensor, Tensor]:
    r"""Return the running statistics without what is left in them of their start, 0 and 1.

    .. math::

        \hat\mu = \frac{\mu}{1 - d} \qquad \hat\sigma^2 = \frac{\sigma^2 - d}{1 - d} \qquad
        d = (1 - \mathrm{momentum})^n

    Args:
        running_mean: running mean, shape ``(C,)``.
        running_var: running variance, shape ``(C,)``.
        num_batches_tracked: n, the number of batches that moved them since their start.
        momentum: weight of a new batch, the same for all of them; `None` leaves nothing of the
            start.

    Returns:
        Mean and variance, ``(C,)``, float64: the weighted average over the batches, exact from
        the first one on but for the rounding of the buffers. With n = 0, what was given.

    References:
        Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", section 3, for
        averages that start at 0.

    Example:
        >>> mean, var, n = torch.zeros(1), torch.ones(1), torch.tensor(0)
        >>> x = 50 + 3 * torch.randn(10_000, 1)
        >>> update_running_(mean, var, Moments.of(x), num_batches_tracked=n)
        >>> mean.item() < 6, var.item() < 3
        (True, True)
        >>> mean, var = debiased(mean, var, n)
        >>> round(mean.item()), round(var.item())
        (50, 9)
    """
    mean, var = running_mean.double(), running_var.double()
    if momentum is None:
        return mean, var
    left = _whole(1.0 - momentum, mean) ** num_batches_tracked.double()
    started = left < 1.0
    rest = torch.where(started, 1.0 - left, 1.0)
    # The buffers are rounded, so a variance near 0 may come out below it.
    return mean / rest, torch.where(started, ((var - left) / rest).clamp(min=0.0), var)


def _whole(number: float, like: Tensor) -> Tensor:
    """Return a number as a tensor, in two parts: ONNX exporters round a number to float32."""
    scaled = number * (2.0**29 + 1.0)
    high = scaled - (scaled - number)  # its leading 24 bits, as Dekker (1971) splits a number
    return torch.full_like(like, high) + (number - high)
