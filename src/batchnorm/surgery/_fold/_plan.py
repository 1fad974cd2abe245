"""Plan of a fold: which layers go into which linear maps, and why the others stay.

A function of the facts alone: nothing is asked of the model.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from batchnorm._model._affine import Affine
from batchnorm._model._linear import Weights
from batchnorm.surgery._fold._facts import Facts, Map
from batchnorm.surgery._fold._walk import Walk, Walker
from batchnorm.surgery._fold._way import affine_behind, affines_before

_SPATIAL = (3, 4, 5)  # dimensions of what a convolution takes


@dataclass(frozen=True)
class Fold:
    """A layer to be folded.

    Attributes:
        norm: its qualified name.
        into: those of the linear maps that take it up.
        follows: whether the layer comes after the linear maps, not before them.
    """

    norm: str
    into: tuple[str, ...]
    follows: bool


class Convolution(NamedTuple):
    """A convolution of single channels that a layer becomes.

    Attributes:
        ndim: of what it takes.
        dtype: of what it takes.
    """

    ndim: int
    dtype: torch.dtype


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        folds: the layers to be folded, in an order in which each is next to its linear maps.
        weights: what the linear maps are to become, by qualified name.
        left: why the other layers are left alone, by qualified name.
        made: the convolutions that layers are to become, by qualified name.
    """

    folds: tuple[Fold, ...]
    weights: Mapping[str, Weights]
    left: Mapping[str, str]
    made: Mapping[str, Convolution] = field(default_factory=dict)


def plan(facts: Facts, norms: Iterable[str]) -> Plan:
    """Find linear maps for each of the layers.

    Args:
        facts: what is known of the model.
        norms: qualified names of layers.
    """
    left = {norm: reason for norm in norms if (reason := facts.norms[norm].obstacle)}
    planner = _Planner(facts)
    verdicts = {norm: "" for norm in norms if norm not in left}
    progress = True
    while progress:  # a layer that is gone may bring another next to a linear map
        waiting = list(verdicts)
        verdicts = {norm: reason for norm in waiting if (reason := planner.judge(norm))}
        if len(verdicts) == len(waiting):  # only then, for most go without one
            verdicts = {n: reason for n, reason in verdicts.items() if not planner.make(n, waiting)}
        progress = len(verdicts) < len(waiting)
    return Plan(tuple(planner.folds), planner.weights, {**left, **verdicts}, planner.made)


class _Planner:
    def __init__(self, facts: Facts) -> None:
        self.folds: list[Fold] = []
        self.weights: dict[str, Weights] = {}
        self.made: dict[str, Convolution] = {}
        self._facts = facts
        self._maps: dict[str, Map] = dict(facts.maps)
        self._call = {call.module: call for call in reversed(facts.graph.calls)}  # the first one
        self._gone: set[str] = set()  # layers of which nothing stays
        self._walker = Walker(facts, self._maps, self._gone)

    def judge(self, norm: str) -> str:
        """Fold the layer into its neighbours, or return the reason why it stays."""
        reasons = []
        for follows, words in ((True, "its input comes from"), (False, "its output goes to")):
            reason = self._try(norm, follows=follows)
            if reason is None:
                return ""
            reasons.append(f"{words} {reason}")
        return ", ".join(reasons)

    def make(self, norm: str, waiting: list[str]) -> bool:
        """Plan a convolution of single channels in the place of a branch that is only a layer."""
        layer, shape = self._facts.norms[norm], self._facts.shapes[norm]
        if not layer.vanishes or layer.affine is None or len(shape) not in _SPATIAL:
            return False
        if not self._walker.is_branch(self._call[norm], waiting):
            return False
        weights = Weights(layer.affine.scale.reshape(-1, 1, 1, 1), layer.affine.shift)
        if not weights.fit(layer.dtype):
            return False
        self._maps[norm] = Map(weights=weights, dtype=layer.dtype)
        self.weights[norm], self.made[norm] = weights, Convolution(len(shape), layer.dtype)
        return True

    def _try(self, norm: str, *, follows: bool) -> str | None:
        call = self._call[norm]
        found = self._walker.back(call) if follows else self._walker.forth(call)
        if isinstance(found, str):
            return found
        for step in found.maps:
            reason = next(self._objections(norm, found, step.module, follows=follows), None)
            if reason:
                return f"{step.module}, {reason}"
        return self._fold(norm, found, follows=follows)

    def _objections(self, norm: str, found: Walk, name: str, *, follows: bool) -> Iterator[str]:
        if self._maps[name].obstacle:
            yield f"which {self._maps[name].obstacle}"
        if reason := self._onlookers(norm, found, follows=follows):
            yield f"but {reason}"
        if not follows and not self._facts.norms[norm].vanishes:
            yield "but through its own activation"

    def _onlookers(self, norm: str, found: Walk, *, follows: bool) -> str:
        """Return which hook would receive other values between the layer and a linear map."""
        facts = self._facts
        if any(way.steps for way in found.ways):  # where no run has followed the values
            hooked = facts.hooked
            return "" if hooked is None else f"may be watched by a hook of {hooked or 'the model'}"
        between = facts.graph.only_input(self._call[norm])
        onlooker = facts.onlookers.get(between.module if follows and between else norm)
        return "" if onlooker is None else f"is watched by a hook of {onlooker}"

    def _fold(self, norm: str, found: Walk, *, follows: bool) -> str | None:
        affine = self._facts.norms[norm].affine
        assert affine is not None  # noqa: S101 -- there was no obstacle
        moved = _before(found, affine) if follows else _behind(found, affine)
        if isinstance(moved, str):
            return moved
        changed = {}
        for step, one in zip(found.maps, moved, strict=True):
            linear = self._maps[step.module]
            if not follows and linear.mixes_borders and one.shift.any():
                return f"{step.module}, which pads with zeros that the layer does not shift"
            before = self.weights.get(step.module) or linear.weights
            assert before is not None  # noqa: S101 -- there was no obstacle
            changed[step.module] = before.then(one) if follows else before.after(one)
            if not changed[step.module].fit(linear.dtype):
                return f"{step.module}, whose weights would not be finite in {linear.dtype}"
        self.weights |= changed
        self.folds.append(Fold(norm, tuple(changed), follows))
        if self._facts.norms[norm].vanishes:
            self._gone.add(norm)
        return None


def _before(found: Walk, affine: Affine) -> list[Affine] | str:
    """Return the affine map for each of the linear maps before a layer."""
    (way,) = found.ways
    moved = affines_before(way, affine)
    if isinstance(moved, str):
        return f"{' and '.join(step.module for step in found.maps)}, {moved}"
    return [moved[step.index] for step in found.maps]


def _behind(found: Walk, affine: Affine) -> list[Affine] | str:
    """Return the affine map for each of the linear maps behind a layer."""
    moved = []
    for step, way in zip(found.maps, found.ways, strict=True):
        one = affine_behind(way, affine)
        if isinstance(one, str):
            return f"{step.module}, {one}"
        moved.append(one)
    return moved
