"""Small drawings: well formed, with what they show in them; and colours that can be read."""

import math
import re

import pytest

from batchnorm.lab.judging._estimates import Difference, Extreme, Level, Ratio
from batchnorm.lab.judging._figures import (
    Axis,
    Bars,
    Curve,
    Curves,
    Grid,
    Grids,
    Panels,
    Point,
    Points,
    Table,
)
from batchnorm.lab.judging._findings import Effect
from batchnorm.lab.report._forest import forest
from batchnorm.lab.report._thumbnails import coloured, thumbnail
from support.lab.drawings import parsed

ARMS = ("a", "b")
INF, NAN = math.inf, math.nan
LOG = Axis("x", log=True)


def curve(arm="a", values=(0.1, 0.5, 0.9), dashed=False):
    return Curve(arm, f"<{arm}>", (1, 10, 100), values, values, values, dashed)


def point(arm="a", value=3.0, low=2.0, high=4.0, group="one"):
    return Point(arm, f"<{arm}>", group, value, low, high, "text")


def grid(arm="a"):
    return Grid(arm, f"<{arm}>", ("1", "2"), ("x", "y", "z"), ((0.5, NAN, 1), (0, 1, 1)), ())


CURVES = Curves("T", "c", LOG, Axis("y", percent=True), (curve(), curve("b", dashed=True)), (0.5,))
FIGURES = {
    "curves": (CURVES, "path", 4),
    "gaps": (Curves("T", "c", LOG, Axis("y"), (curve(values=(NAN, 0.5, INF)),)), "circle", 1),
    "panels": (Panels("T", "c", LOG, Axis("y"), (curve(), curve("b"))), "path", 8),
    "beyond": (Panels("T", "c", LOG, Axis("y"), (curve(values=(99, 0.5, 0.9)),)), "path", 4),
    "points": (
        Points("T", "c", LOG, (point(), point("b", INF, 50, INF, "two")), 100.0, (1.0,)),
        "circle",
        1,
    ),
    "bars": (Bars("T", "c", Axis("y"), (point(), point("b"), point(group="two"))), "rect", 3),
    "zoomed": (Bars("T", "c", Axis("y"), (point(), point("b")), zoomed=True), "rect", 2),
    "grids": (Grids("T", "c", "r", "c", (grid(), grid("b"), grid())), "rect", 18),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_thumbnail_of_every_kind_shows_its_values(name):
    figure, tag, count = FIGURES[name]
    root = parsed(thumbnail(figure, ARMS))
    assert len(root.findall(f".//{tag}")) >= count
    assert re.match(
        "T(; the bars do not start at zero|, row by row)?: <a>", root.find("title").text
    )
    assert ("zero" in root.find("title").text) == (name == "zoomed")
    classes = " ".join(element.get("class", "") for element in root.iter())
    assert all(f"arm{ARMS.index(arm)}" in classes for arm in coloured(figure))


def test_a_table_has_no_thumbnail():
    assert not thumbnail(Table("T", "c", ("x",), (("1",),)), ARMS)


def test_what_is_censored_is_an_arrow_and_what_is_missing_a_gap():
    assert len(parsed(thumbnail(FIGURES["points"][0], ARMS)).findall("path")) == 1
    gaps = parsed(thumbnail(FIGURES["gaps"][0], ARMS))
    assert len(gaps.findall("circle")) == 1


EFFECTS = {
    "ratio": (Effect("<e>", Ratio(2, 2, 1.5, 3), above=1), "circle", ["above 1", "no effect"]),
    "open": (Effect("e", Ratio(5, INF, 2, INF), above=1), "path", ["above 1", "no effect"]),
    "closed": (Effect("e", Ratio(0, 0.5, 0, 0.9), above=1), "path", ["above 1", "no effect"]),
    "between": (Effect("e", Ratio(2, 3, 1, 4)), "rect", ["no effect"]),
    "huge": (Effect("e", Ratio(1e62, 1e62, 1e41, 1e88), above=1.5), "circle", ["above 1.5"]),
    "points": (Effect("e", Difference(-0.1, -0.2, 0), above=-0.01), "circle", ["above -1 points"]),
    "level": (Effect("e", Level(0.5, 0.4, 0.6), below=0.9), "circle", ["below 90%"]),
    "exact": (Effect("e", Extreme(3e-16, 9), below=1e-9), "circle", ["below 1e-9"]),
    "nought": (Effect("e", Extreme(0.0, 9), below=1e-9), "circle", ["below 1e-9"]),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_is_drawn_with_its_bound_and_no_effect(name):
    effect, tag, words = EFFECTS[name]
    root = parsed(forest(effect))
    assert root.find("title").text == str(effect)
    assert len(root.findall(tag)) >= (2 if tag == "rect" and effect.decides else 1)
    texts = [text.text for text in root.findall("text")]
    assert set(words) <= set(texts)
    assert len(root.findall("rect[@class='allowed']")) == effect.decides


def place(root, kind, name):
    return float(root.find(f".//*[@class='{kind}']").get(name))


def test_the_drawing_agrees_with_the_verdict():
    for low, high in ((1.5, 3), (0.5, 3), (0.2, 0.5)):
        effect = Effect("e", Ratio(math.sqrt(low * high), math.sqrt(low * high), low, high), 1)
        root = parsed(forest(effect))
        assert (place(root, "interval", "x1") > place(root, "bound", "x1")) == (
            effect.status == "supported"
        )
        assert place(root, "allowed", "x") == pytest.approx(place(root, "bound", "x1"), abs=0.1)
        middle = (place(root, "interval", "x1") + place(root, "interval", "x2")) / 2
        assert place(root, "value", "cx") == pytest.approx(middle, abs=0.2)  # as logarithms go


def test_below_a_bound_the_other_side_is_tinted():
    root = parsed(forest(Effect("e", Level(0.5, 0.4, 0.6), below=0.9)))
    end = place(root, "allowed", "x") + place(root, "allowed", "width")
    assert end == pytest.approx(place(root, "bound", "x1"), abs=0.2)


def test_an_end_without_limit_is_an_arrow():
    known, endless = (
        parsed(forest(Effect("e", Ratio(2, 2, 1.5, high), above=1))) for high in (3, INF)
    )
    assert not known.findall("path[@class='arrow']")
    assert len(endless.findall("path[@class='arrow']")) == 1


@pytest.mark.parametrize("estimate", [None, Ratio(0, INF, 0, INF)])
def test_nothing_is_drawn_of_what_is_not_known(estimate):
    assert not forest(Effect("e", estimate, above=1))
