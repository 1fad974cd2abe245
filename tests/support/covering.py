"""Choices out of several axes: not every combination, but every pair or triple of values."""

from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Any


def covering(*axes: Sequence[Any], strength: int) -> list[tuple[Any, ...]]:
    """Return rows with one value of each axis, in which any `strength` axes have every combination.

    Bugs that need more than three values at once are rare; the full product repeats the same ones.
    Greedy, and the same in every process: of the rows that show most that is new, the first.
    """
    rows = list(product(*map(range, map(len, axes))))
    shown = {row: frozenset(_parts(row, strength)) for row in rows}
    missing = set().union(*shown.values())
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(shown[row] & missing))
        missing -= shown[best]
        chosen.append(best)
    return [tuple(axis[i] for axis, i in zip(axes, row, strict=True)) for row in sorted(chosen)]


def _parts(row: tuple[int, ...], strength: int) -> Iterable[tuple[tuple[int, int], ...]]:
    return combinations(enumerate(row), strength)
