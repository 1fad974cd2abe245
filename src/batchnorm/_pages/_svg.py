"""SVG elements for drawings that a page holds in line; the page's style decides their colours."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

Element = ET.Element
Place = tuple[float, float]


def drawing(width: float, height: float, title: str, kind: str, top: float = 0.0) -> Element:
    """Return an empty drawing.

    Args:
        width: width in its own units; the page decides how large it is shown.
        height: height in its own units.
        title: what it shows, for readers who cannot see it.
        kind: name of its style.
        top: vertical coordinate of its upper edge.
    """
    found = ET.Element(
        "svg", {"class": kind, "viewBox": f"0 {top:g} {width:g} {height:g}", "role": "img"}
    )
    ET.SubElement(found, "title").text = title
    return found


def put(parent: Element, tag: str, kind: str = "", **more: str | float) -> Element:
    """Add an element, and return it.

    Args:
        parent: the element that it is added to.
        tag: its name, such as ``line``.
        kind: name of its style, which decides its colour.
        more: its attributes; an underscore becomes a hyphen.
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
    """Return a drawing as the text of a page."""
    return ET.tostring(found, encoding="unicode")


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
