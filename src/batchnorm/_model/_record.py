"""Record of results: data first; JSON and the text table are made from it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Record:
    """Base of what instruments return: fields, and properties of them; `str` gives a table."""

    def as_dict(self) -> dict[str, Any]:
        """Return fields and properties as JSON can hold them: `None` for what is not finite.

        Example:
            >>> from batchnorm.measure import LayerShift
            >>> LayerShift("fc", gradient=2.0, distance=0.5, cosine=float("nan")).as_dict()
            {'name': 'fc', 'gradient': 2.0, 'distance': 0.5, 'cosine': None, 'relative': 0.25}
        """
        return {name: _plain(value) for name, value in self.items()}

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield the names and values of fields and properties."""
        for field in fields(self):
            yield field.name, getattr(self, field.name)
        for name, value in vars(type(self)).items():
            if isinstance(value, property):
                yield name, getattr(self, name)

    def __str__(self) -> str:
        items = dict(self.items())
        words = {name: _word(value) for name, value in items.items()}
        lines = [f"{name} {word}" for name, word in words.items() if word]
        for value in items.values():
            if isinstance(value, tuple) and value and all(isinstance(v, Record) for v in value):
                lines += table([_cells(row) for row in value])
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.as_dict()
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cells(row: Record) -> dict[str, str]:
    """Return the names and texts of what fits into a row of a table."""
    return {name: _word(value) for name, value in row.items() if _is_cell(value)}


def _is_cell(value: Any) -> bool:
    return not isinstance(value, Tensor | Record) and not (
        isinstance(value, tuple) and any(isinstance(item, Record | Mapping) for item in value)
    )


def _word(value: Any) -> str:
    """Return a value in few characters, or nothing where it takes many."""
    if value is None or not _is_cell(value):
        return ""
    if isinstance(value, tuple):
        return " ".join(map(_word, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value) or "(the model)"


def table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the lines of a table, without the columns in which every row is empty.

    Args:
        rows: texts by name of the column; the same names in every row, and at least one row.

    Example:
        >>> table([{"name": "conv", "error": "", "norm": "2"}])
        ['name  norm', 'conv  2']
    """
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    cells = [columns, *([row[name] for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
