"""Kinds of recorded values: a field holds one kind, whichever trial and step recorded it."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from batchnorm.lab.records._lines import Entry

NUMBER, TEXT = "a number", "a text"
_LARGEST = sys.float_info.max


def kind(value: Any) -> str | None:
    """Return the kind of a value, or `None` for null and for a list that has nothing else.

    Raises:
        ValueError: no trial records such a value.

    Example:
        >>> kind(3.5), kind([[1.0, None], [2.0]]), kind([None])
        ('a number', 'a list of a list of a number', None)
    """
    if value is None:
        return None
    if isinstance(value, str):
        return TEXT
    if isinstance(value, int | float) and abs(value) <= _LARGEST:
        return NUMBER
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.40} is no value of a record")  # noqa: TRY004 -- as a number too large is
    inside = {found for found in map(kind, value) if found is not None}
    if len(inside) > 1:
        raise ValueError(f"a list holds {' and '.join(sorted(inside))}")
    return f"a list of {inside.pop()}" if inside else None


def usual(evaluations: Iterable[Entry], fields: Sequence[str]) -> dict[str, str]:
    """Return the kind that most values of each field have, where they have any."""
    seen: dict[str, Counter[str]] = {field: Counter() for field in fields}
    for evaluation in evaluations:
        for field in fields:
            try:
                found = kind(evaluation[field])
            except ValueError:
                continue  # `odd` names it
            seen[field].update([] if found is None else [found])
    return {field: counted.most_common(1)[0][0] for field, counted in seen.items() if counted}


def odd(evaluations: Iterable[Entry], kinds: Mapping[str, str]) -> tuple[int, str] | None:
    """Return which evaluation, from 1, has a value of another kind, and why; `None` if none has."""
    for number, evaluation in enumerate(evaluations, start=1):
        for field, usual_kind in kinds.items():
            try:
                found = kind(evaluation[field])
            except ValueError as error:
                return number, f"{field}: {error}"
            if found not in {None, usual_kind}:
                return number, f"{field} is {found}, elsewhere {usual_kind}"
    return None
