"""JSON as this package writes it: strict, so that what somebody else changed is found."""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn


def parse_json(content: bytes) -> Any:
    """Return the value of a JSON document.

    Args:
        content: the document in UTF-8.

    Raises:
        ValueError: it is no JSON, nests too deep, names a key twice, or holds a number that is
            not finite or a text that is not Unicode; the message says which.

    Example:
        >>> parse_json(b'{"step": 5}')
        {'step': 5}
        >>> parse_json(b'{"step": 5, "step": 6}')
        Traceback (most recent call last):
        ValueError: the key 'step' stands there twice
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from error
    try:
        found = json.loads(
            text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError("it nests too deep") from error
    if "\\u" in text:
        _check_texts(found)
    return found


def _check_texts(value: Any) -> None:
    """Check that every text can be written: half of a surrogate pair, escaped, cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds a text that is not Unicode") from error


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!r} stands there twice")
        found[key] = value
    return found


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value
