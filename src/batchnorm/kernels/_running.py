"""Running statistics: the population statistics that training updates, and their update.

Plain torch operations, on any device and under any tracer, without waiting for the device.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class RunningStats(NamedTuple):
    """Population statistics that a forward updates with those of its batch, in place.

    Attributes:
        mean: running mean, shape ``(C,)``, or `None`.
        var: running variance, shape ``(C,)``, or `None`.
        counter: number of batches that moved them, an int64 of shape ``()``, or `None`.
        momentum: weight of the batch; `None` is one over the number of batches, the counter's.
        skip: leave out a batch with a statistic that is not finite, in any channel.
        skipped: number of batches left out for that, an int64 of shape ``()``, or `None`.
        correction: the variance of the batch enters as its squared deviations divided by
            count - correction.
    """

    mean: Tensor | None
    var: Tensor | None
    counter: Tensor | None
    momentum: float | Tensor | None
    skip: bool = True
    skipped: Tensor | None = None
    correction: int = 1


def update_(running: RunningStats, mean: Tensor, var: Tensor, count: int | Tensor) -> None:
    """Move running statistics towards those of a batch, in place, and count it.

    Args:
        running: what is moved.
        mean: of the batch, ``(C,)``, float64.
        var: of the batch, biased, ``(C,)``, float64.
        count: values per channel in the batch. A number has to exceed the correction; where a
            tensor does not, nothing moves.
    """
    factor, enough = _factor(count, running.correction)
    new = [
        (moved, value)
        for moved, value in ((running.mean, mean), (running.var, var * factor))
        if moved is not None
    ]
    finite = None
    if running.skip and new:  # judged as the buffers would hold them
        finite = torch.stack([value.to(moved.dtype).isfinite().all() for moved, value in new]).all()
    used = _both(enough, finite)
    momentum = _momentum(running)
    for moved, value in new:
        after = _towards(moved.double(), value.double(), momentum)
        moved.copy_(after if used is None else torch.where(used, after, moved))
    if running.counter is not None:
        running.counter.add_(1 if used is None else used)
    if running.skipped is not None and finite is not None:
        left_out = finite.logical_not()
        running.skipped.add_(left_out if enough is None else left_out.logical_and(enough))


def _towards(before: Tensor, value: Tensor, momentum: float | Tensor) -> Tensor:
    """Interpolate; at momentum 1 nothing is left of what was, not even an infinity."""
    after = before + momentum * (value - before)
    if isinstance(momentum, Tensor):
        return torch.where(momentum == 1.0, value, after)
    return value if momentum == 1.0 else after


def _factor(count: int | Tensor, correction: int) -> tuple[float | Tensor, Tensor | None]:
    """Return what turns a biased variance into the one that is kept, and whether it can."""
    if not isinstance(count, Tensor):
        return count / (count - correction), None
    degrees = count.double() - correction
    enough = degrees > 0
    return count / torch.where(enough, degrees, 1.0), enough


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one.logical_and(other)


def _momentum(running: RunningStats) -> float | Tensor:
    if running.momentum is not None:
        return running.momentum
    assert running.counter is not None  # noqa: S101 -- the door has seen to it
    return (running.counter + 1).double().reciprocal()
