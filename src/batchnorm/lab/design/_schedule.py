"""Schedules, data order and noise seeds: pure functions, so that a trial can be resumed."""

import numpy as np
from numpy.typing import NDArray

_FRACTION = 20
_NOISE = 1


def evaluation_steps(steps: int, every: int = 5) -> tuple[int, ...]:
    """Return the steps at which a trial is evaluated: 0, and then ever wider apart.

    The distance is `every` steps at first and a twentieth of the step later, so that a number of
    steps is known to 5 steps or 5 %, whichever is coarser. It is the same for every arm.

    Args:
        steps: length of the trial; always evaluated.
        every: smallest distance.

    Example:
        >>> evaluation_steps(20)
        (0, 5, 10, 15, 20)
    """
    schedule, step = [0], 0
    while step < steps:
        step = min(step + max(every, step // _FRACTION), steps)
        schedule.append(step)
    return tuple(schedule)


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the order of the examples in one epoch, a function of its arguments alone."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def noise_seed(seed: int, step: int) -> int:
    """Return what to seed dropout and noise with from an evaluation at `step` on."""
    return int(np.random.SeedSequence([seed, step, _NOISE]).generate_state(1)[0])


def batches_per_epoch(count: int, batch: int) -> int:
    """Return the number of full mini-batches; the remainder waits for another epoch's order."""
    return count // batch
