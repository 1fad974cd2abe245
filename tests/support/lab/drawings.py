"""What a drawing must be, whatever it shows."""

from xml.etree import ElementTree as ET


def parsed(drawing):
    """Return the drawing, after checking that nothing in it lies outside of it."""
    root = ET.fromstring(drawing)  # noqa: S314  (our own)
    assert "nan" not in drawing
    assert "inf" not in drawing.replace("L-infinity", "")
    left, top, width, height = map(float, root.get("viewBox").split())
    for element in root.iter():
        x, y = (float(element.get(name, start)) for name, start in (("x", left), ("y", top)))
        wide, high = (float(element.get(name, 0)) for name in ("width", "height"))
        assert left - 0.1 <= x <= x + wide <= left + width + 0.1
        assert top - 0.1 <= y <= y + high <= top + height + 0.1
    for path in root.findall("path"):
        places = [pair.split() for pair in path.get("d").strip("MZ").split("L")]
        assert all(left <= float(x) <= left + width for x, _ in places)
        assert all(top <= float(y) <= top + height for _, y in places)
    assert root.find("title").text
    return root
