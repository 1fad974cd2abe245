"""Scales of drawings: where the values of an axis are placed."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from batchnorm.lab.judging._figures import Axis
from batchnorm.lab.report import _axes


@dataclass(frozen=True)
class PlotScale:
    """Map from the values of an axis to places in a drawing.

    Args:
        axis: what it shows.
        low: where it begins, as `axes.place` counts.
        high: where it ends.
        start: place of its beginning in the drawing.
        end: place of its end.
    """

    axis: Axis
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def of(
        cls, axis: Axis, values: Iterable[float], start: float, end: float, room: float = 0.04
    ) -> "PlotScale":
        """Return the scale that holds the values, with some room on either side, as a share."""
        low, high = _axes.scaled(axis, values, room)["range"]
        return cls(axis, low, high, start, end)

    def holds(self, value: float) -> bool:
        """Return whether a value has a place at all."""
        return math.isfinite(value) and (value > 0 or not self.axis.log)

    def __call__(self, value: float) -> float:
        """Return the place of a value; what lies beyond an end, or has no place, is put at it."""
        if not self.holds(value):
            return self.end if value > 0 else self.start
        share = (_axes.place(self.axis, value) - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)
