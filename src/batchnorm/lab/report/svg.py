"""Small drawings as SVG that a page holds in line: their colours are the page's own."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from ..findings import Axis
from . import axes

Element = ET.Element
Place = tuple[float, float]


def drawing(width: float, height: float, title: str, kind: str, top: float = 0.0) -> Element:
    """Return an empty drawing.

    Args:
        width: Width of its own scale; the page decides how large it is shown.
        height: Height of it.
        title: What there is to see, for readers who cannot.
        kind: Name of its style.
        top: Where its scale begins.
    """
    found = ET.Element(
        "svg", {"class": kind, "viewBox": f"0 {top:g} {width:g} {height:g}", "role": "img"}
    )
    ET.SubElement(found, "title").text = title
    return found


def put(parent: Element, tag: str, kind: str = "", **more: str | float) -> Element:
    """Add an element, and return it.

    Args:
        parent: Where to.
        tag: Its name, such as ``line``.
        kind: Name of its style, which decides its colour.
        more: Its attributes; an underscore stands for a hyphen.
    """
    named = {name.replace("_", "-"): _text(value) for name, value in more.items()}
    return ET.SubElement(parent, tag, ({"class": kind} if kind else {}) | named)


def line(parent: Element, start: Place, end: Place, kind: str) -> None:
    """Add a straight line."""
    put(parent, "line", kind, x1=start[0], y1=start[1], x2=end[0], y2=end[1])


def path(parent: Element, places: Sequence[Place], kind: str, *, closed: bool = False) -> None:
    """Add a path through places."""
    drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    put(parent, "path", kind, d=f"M{drawn}{'Z' if closed else ''}")


def text(found: Element) -> str:
    """Return a drawing as it stands in a page."""
    return ET.tostring(found, encoding="unicode")


@dataclass(frozen=True)
class Scale:
    """Where the values of an axis stand.

    Args:
        axis: What it shows.
        low: Where it begins, as `axes.place` counts.
        high: Where it ends.
        start: Place of its beginning in the drawing.
        end: Place of its end.
    """

    axis: Axis
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def of(
        cls, axis: Axis, values: Iterable[float], start: float, end: float, room: float = 0.04
    ) -> "Scale":
        """Return the scale that holds the values, with some room on either side, as a share."""
        low, high = axes.scaled(axis, values, room)["range"]
        return cls(axis, low, high, start, end)

    def holds(self, value: float) -> bool:
        """Return whether a value has a place at all."""
        return math.isfinite(value) and (value > 0 or not self.axis.log)

    def __call__(self, value: float) -> float:
        """Return the place of a value; what lies beyond an end, or has no place, stands there."""
        if not self.holds(value):
            return self.end if value > 0 else self.start
        share = (axes.place(self.axis, value) - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
