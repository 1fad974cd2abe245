"""Record of an operation on a model: data first, the table is made from it."""

from dataclasses import asdict, dataclass
from typing import Any

from batchnorm._model._record import table

LEFT_ALONE = "left alone"
NO_LAYERS = "the model has no batch normalization layers: batchnorm.insert gives it some"


@dataclass(frozen=True)
class Change:
    """What became of one module.

    Attributes:
        module: its qualified name, as `named_modules` has it.
        what: a verb in the past tense, such as ``folded``, or ``left alone``.
        detail: with what, or the reason why it was left alone.
        error: largest relative error that was measured for this module, where one was.
    """

    module: str
    what: str
    detail: str = ""
    error: float | None = None


@dataclass(frozen=True)
class Record:
    """What an operation did to a model; `str` gives a table.

    Attributes:
        operation: name of the operation.
        changes: one for each module that the operation looked at, in the model's order.
        error: largest relative error of the model's outputs, where they were compared.
        note: why there are no changes, where there are none.

    Example:
        >>> folded = Change("bn1", "folded", "into conv1", error=2e-7)
        >>> kept = Change("bn2", "left alone", "its input has other users")
        >>> print(Record("fold", (folded, kept)))
        fold: 1 done, 1 left alone, largest relative error 2e-07
        module  what        error  detail
        bn1     folded      2e-07  into conv1
        bn2     left alone         its input has other users
    """

    operation: str
    changes: tuple[Change, ...]
    error: float | None = None
    note: str = ""

    @property
    def done(self) -> tuple[Change, ...]:
        """The modules that were changed."""
        return tuple(change for change in self.changes if change.what != LEFT_ALONE)

    @property
    def left(self) -> tuple[Change, ...]:
        """The modules that were left alone; `detail` says why."""
        return tuple(change for change in self.changes if change.what == LEFT_ALONE)

    @property
    def largest_error(self) -> float | None:
        """The largest relative error that was measured, or `None` where none was."""
        errors = (self.error, *(change.error for change in self.changes))
        return max((error for error in errors if error is not None), default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON can hold it.

        Example:
            >>> Record("fold", (Change("bn1", "folded", "into conv1"),)).as_dict()["changes"]
            [{'module': 'bn1', 'what': 'folded', 'detail': 'into conv1', 'error': None}]
        """
        return {**asdict(self), "changes": [asdict(change) for change in self.changes]}

    def __str__(self) -> str:
        lines = [f"({self.note})"] if self.note else []
        if self.changes:
            lines += table([_row(change) for change in self.changes])
        return "\n".join([self._summary(), *lines])

    def _summary(self) -> str:
        words = [f"{len(self.done)} done", f"{len(self.left)} left alone"]
        if (error := self.largest_error) is not None:
            words.append(f"largest relative error {error:.1g}")
        return f"{self.operation}: {', '.join(words)}"


def _row(change: Change) -> dict[str, str]:
    return {
        "module": change.module or "(the model)",
        "what": change.what,
        "error": "" if change.error is None else f"{change.error:.1g}",
        "detail": change.detail,
    }
