"""Forest plot of an effect: its interval, its value, the bound of the rule, and no effect."""

import math
from dataclasses import dataclass

from batchnorm._pages import _svg
from batchnorm._pages._svg import Element
from batchnorm.lab.judging._estimates import Estimate
from batchnorm.lab.judging._figures import Axis
from batchnorm.lab.judging._findings import Effect, Verdict
from batchnorm.lab.report._plot_scale import PlotScale

_WIDTH, _MIDDLE, _EDGE = 300.0, 25.0, 12.0
_NEAR = 60.0  # so close to an end, a label stands inside


@dataclass(frozen=True)
class EffectLine:
    """An effect in words and as a drawing."""

    effect: Effect
    drawing: str


def lines(verdict: Verdict) -> tuple[EffectLine, ...]:
    """Return the effects of a verdict."""
    return tuple(EffectLine(effect, forest(effect)) for effect in verdict.effects)


def forest(effect: Effect) -> str:
    """Return the line of an effect; nothing where the trials say nothing of it."""
    found = effect.estimate
    if found is None or not found.determined:
        return ""
    neutral = not found.log or found.neutral > 0
    top = 0.0 if effect.decides else _MIDDLE - 12
    bottom = 2 * _MIDDLE if neutral else _MIDDLE + 12
    drawing = _svg.drawing(_WIDTH, bottom - top, str(effect), "forest", top)
    scale = _scale(effect, found)
    for word, bound in _bounds(effect):
        _allowed(drawing, scale(bound), word)
    _svg.line(drawing, (_EDGE, _MIDDLE), (_WIDTH - _EDGE, _MIDDLE), "axis")
    if neutral:
        _tick(drawing, scale(found.neutral), "no effect", 1, "neutral")
    for word, bound in _bounds(effect):
        _tick(drawing, scale(bound), f"{word} {found.bound(bound)}", -1, "bound")
    _interval(drawing, scale, found)
    _value(drawing, scale, found)
    return _svg.text(drawing)


def _bounds(effect: Effect) -> list[tuple[str, float]]:
    sides = (("above", effect.above), ("below", effect.below))
    return [(word, bound) for word, bound in sides if bound is not None]


def _scale(effect: Effect, found: Estimate) -> PlotScale:
    values = [found.low, found.high, found.least, found.most, found.neutral]
    values += [bound for _, bound in _bounds(effect)]
    return PlotScale.of(Axis("", log=found.log), values, _EDGE, _WIDTH - _EDGE, room=0.15)


def _allowed(drawing: Element, at: float, word: str) -> None:
    """Tint the side of a bound on which the claim holds."""
    left, right = (at, _WIDTH - _EDGE) if word == "above" else (_EDGE, at)
    _svg.put(drawing, "rect", "allowed", x=left, y=_MIDDLE - 9, width=right - left, height=18)


def _tick(drawing: Element, at: float, words: str, side: int, kind: str) -> None:
    """Draw a tick with its words above the line (-1) or below it (1)."""
    _svg.line(drawing, (at, _MIDDLE - 9), (at, _MIDDLE + 9), kind)
    anchor = "start" if at < _NEAR else "end" if at > _WIDTH - _NEAR else "middle"
    up = _MIDDLE - 13 if side < 0 else _MIDDLE + 22
    _svg.put(drawing, "text", kind, x=at, y=up, text_anchor=anchor).text = words


def _interval(drawing: Element, scale: PlotScale, found: Estimate) -> None:
    low, high = scale(found.low), scale(found.high)
    _svg.line(drawing, (low, _MIDDLE), (high, _MIDDLE), "interval")
    if math.isinf(found.low) or (found.log and found.low <= 0):
        _arrow(drawing, low, -1)
    if math.isinf(found.high):
        _arrow(drawing, high, 1)


def _value(drawing: Element, scale: PlotScale, found: Estimate) -> None:
    """Draw the value: a dot, an open end where it is only known from one side, or a stretch."""
    least, most = scale(found.least), scale(found.most)
    if found.least == found.most:
        if math.isfinite(found.least):
            _svg.put(drawing, "circle", "value", cx=least, cy=_MIDDLE, r=5)
    elif math.isinf(found.most):
        _svg.path(drawing, _triangle(least, 1), "value", closed=True)
    elif found.least <= 0:
        _svg.path(drawing, _triangle(most, -1), "value", closed=True)
    else:
        _svg.put(drawing, "rect", "value", x=least, y=_MIDDLE - 3, width=most - least, height=6)


def _arrow(drawing: Element, tip: float, side: int) -> None:
    wings = [(tip - side * 7, _MIDDLE - 5), (tip, _MIDDLE), (tip - side * 7, _MIDDLE + 5)]
    _svg.path(drawing, wings, "arrow")


def _triangle(at: float, side: int) -> list[_svg.Place]:
    return [(at, _MIDDLE - 6), (at + side * 9, _MIDDLE), (at, _MIDDLE + 6)]
