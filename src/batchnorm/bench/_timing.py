"""Timing in interleaved rounds: all are timed in turn, so that drift affects all alike."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

Timed = Callable[[], object]
Clock = Callable[[], float]

SEED = 20150211
_LONGEST_GUESS = 10  # times more calls at once while looking for their number
_MOST_CALLS = 100_000


def interleaved(
    jobs: Mapping[str, Timed],
    rounds: int,
    seconds: float,
    clock: Clock = time.perf_counter,
) -> dict[str, tuple[float, ...]]:
    """Time jobs in rounds, each job once a round, in an order that changes from round to round.

    An order is drawn with a fixed seed and rotated from round to round until every job was first
    once, then another is drawn. A job's turn has as many calls as last about `seconds`, and at
    least one; the number is found beforehand, which also warms the job up.

    Args:
        jobs: what to time, by name.
        rounds: number of rounds.
        seconds: how long a turn is to last.
        clock: tells the time in seconds.

    Returns:
        For each job the seconds of one call, one value a round.

    Example:
        >>> found = interleaved({"a": lambda: None, "b": lambda: None}, rounds=3, seconds=1e-5)
        >>> {name: len(values) for name, values in found.items()}
        {'a': 3, 'b': 3}
    """
    names = list(jobs)
    found: dict[str, list[float]] = {name: [] for name in names}
    with _no_collection():
        calls = {name: _enough(job, seconds, clock) for name, job in jobs.items()}
        for order in _orders(names, rounds):
            for name in order:
                found[name].append(_elapsed(jobs[name], calls[name], clock) / calls[name])
    return {name: tuple(values) for name, values in found.items()}


def _orders(names: list[str], rounds: int) -> Iterator[list[str]]:
    generator = np.random.default_rng(SEED)
    order = list(names)
    for number in range(rounds):
        if number % len(names) == 0:
            order = [names[position] for position in generator.permutation(len(names))]
        yield order
        order = [*order[1:], order[0]]


def _enough(job: Timed, seconds: float, clock: Clock) -> int:
    """Return how many calls last about `seconds`; the first call is not counted."""
    job()
    calls = 1
    while True:
        elapsed = _elapsed(job, calls, clock)
        if elapsed >= seconds or calls >= _MOST_CALLS:
            return calls
        wanted = math.ceil(calls * seconds / elapsed) if elapsed > 0 else math.inf
        if wanted <= 2 * calls:
            return int(wanted)
        calls = int(min(wanted, calls * _LONGEST_GUESS))


def _elapsed(job: Timed, calls: int, clock: Clock) -> float:
    start = clock()
    for _ in range(calls):
        job()
    return clock() - start


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of the times, as `timeit` does."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
