"""Colours of the pages: readers can tell text from its ground."""

from itertools import product

import pytest

from batchnorm._pages import _palette


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """The ratio of WCAG 2.2, which asks for 4.5 of text."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def mixed(one, other, share):
    parts = [(int(c[at : at + 2], 16) for at in (1, 3, 5)) for c in (one, other)]
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(*parts, strict=True))


THEMES = pytest.mark.parametrize("theme", [_palette.LIGHT, _palette.DARK], ids=["light", "dark"])


@THEMES
def test_text_has_the_contrast_that_readers_need(theme):
    texts = ["ink", "soft", *(f"arm{n}" for n in range(_palette.ARMS))]
    for text, ground in product(texts, ("page", "ground")):
        assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)


@THEMES
def test_ink_is_legible_in_every_cell_and_on_every_bound(theme):
    cells = [mixed(theme["low"], theme["high"], share / 20) for share in range(21)]
    for cell in [*cells, theme["none"]]:
        assert contrast(theme["ink"], cell) >= 4.5
    for ground in ("arm0", "arm2", "arm3", "soft"):  # the bar of the verdicts has its counts in it
        assert contrast(theme["page"], theme[ground]) >= 4.5


def test_contrast_is_what_the_standard_calculates():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
