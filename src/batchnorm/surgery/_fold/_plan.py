"""Plan of a fold: which layers go into which linear maps, and why the others stay.

A function of the facts alone: nothing is asked of the model.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from batchnorm._model._graph import Step
from batchnorm._model._layout_ops import LayoutOp, dimension_after
from batchnorm._model._linear import Weights
from batchnorm.surgery._fold._facts import Facts


@dataclass(frozen=True)
class Fold:
    """A layer to be folded.

    Attributes:
        norm: its qualified name.
        into: that of the linear map that takes it up.
        follows: whether the layer comes after the linear map, not before it.
    """

    norm: str
    into: str
    follows: bool


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        folds: the layers to be folded, in an order in which each is next to its linear map.
        weights: what the linear maps are to become, by qualified name.
        left: why the other layers are left alone, by qualified name.
    """

    folds: tuple[Fold, ...]
    weights: Mapping[str, Weights]
    left: Mapping[str, str]


def plan(facts: Facts, norms: Iterable[str]) -> Plan:
    """Find a linear map for each of the layers.

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
        progress = len(verdicts) < len(waiting)
    return Plan(tuple(planner.folds), planner.weights, {**left, **verdicts})


@dataclass(frozen=True)
class _Neighbour:
    """The step next to a layer, and the layout operations between them, in forward order."""

    call: Step
    layout_ops: list[LayoutOp]


class _Planner:
    def __init__(self, facts: Facts) -> None:
        self.folds: list[Fold] = []
        self.weights: dict[str, Weights] = {}
        self._facts = facts
        self._call = {call.module: call for call in reversed(facts.graph.calls)}  # the first one
        self._gone: set[str] = set()  # layers of which nothing stays

    def judge(self, norm: str) -> str:
        """Fold the layer into a neighbour, or return the reason why it stays."""
        reasons = []
        for follows, words in ((True, "its input comes from"), (False, "its output goes to")):
            reason = self._try(norm, follows=follows)
            if reason is None:
                return ""
            reasons.append(f"{words} {reason}")
        return ", ".join(reasons)

    def _try(self, norm: str, *, follows: bool) -> str | None:
        found = self._neighbour(norm, follows=follows)
        if isinstance(found, str):
            return found
        name = found.call.module
        if not name or name not in self._facts.maps:
            return _describe(found.call)
        reason = next(self._objections(norm, found, follows=follows), None) or self._fold(
            norm, name, follows=follows
        )
        return reason and f"{name}, {reason}"

    def _neighbour(self, norm: str, *, follows: bool) -> _Neighbour | str:
        """Return the step next to a layer, past layout operations, or why there is none."""
        graph = self._facts.graph
        layout_ops: list[LayoutOp] = []
        call = self._call[norm]
        while True:
            other = graph.only_input(call) if follows else graph.only_user(call)
            if other is None:
                return "several steps" if (call.inputs if follows else call.users) else "nothing"
            back = graph.only_user(other) if follows else graph.only_input(other)
            if back is not call:
                return f"{_describe(other)}, which {'serves' if follows else 'takes'} others too"
            if other.layout_op is not None:
                layout_ops.insert(0 if follows else len(layout_ops), other.layout_op)
            elif other.module not in self._gone:
                return _Neighbour(other, layout_ops)
            call = other

    def _objections(self, norm: str, found: _Neighbour, *, follows: bool) -> Iterator[str]:
        linear, layer = self._facts.maps[found.call.module], self._facts.norms[norm]
        if linear.obstacle:
            yield f"which {linear.obstacle}"
        if reason := self._onlookers(norm, found, follows=follows):
            yield f"but {reason}"
        if not self._aligned(norm, found, follows=follows):
            yield "whose features are in another dimension than the layer's channels"
        if not follows and not layer.vanishes:
            yield "but through its own activation"
        if not follows and linear.mixes_borders and layer.affine and layer.affine.shift.any():
            yield "which pads with zeros that the layer does not shift"

    def _onlookers(self, norm: str, found: _Neighbour, *, follows: bool) -> str:
        """Return which hook would receive other values between the layer and the linear map."""
        facts = self._facts
        if found.layout_ops:  # where no run has followed the values
            hooked = facts.hooked
            return "" if hooked is None else f"may be watched by a hook of {hooked or 'the model'}"
        between = facts.graph.only_input(self._call[norm])
        onlooker = facts.onlookers.get(between.module if follows and between else norm)
        return "" if onlooker is None else f"is watched by a hook of {onlooker}"

    def _aligned(self, norm: str, found: _Neighbour, *, follows: bool) -> bool:
        """Return whether the linear map's features are the layer's channels."""
        name = found.call.module
        features = self._facts.maps[name].features
        start, end = (features, 1) if follows else (1, features)
        place = self._facts.shapes[name if follows else norm], start
        for layout_op in found.layout_ops:
            after = dimension_after(layout_op, *place)
            if after is None:
                return False
            place = after
        return place[1] == end

    def _fold(self, norm: str, name: str, *, follows: bool) -> str | None:
        linear, layer = self._facts.maps[name], self._facts.norms[norm]
        before = self.weights.get(name) or linear.weights
        assert before is not None  # noqa: S101 -- there was no obstacle
        assert layer.affine is not None  # noqa: S101 -- as above
        weights = before.then(layer.affine) if follows else before.after(layer.affine)
        if not weights.fit(linear.dtype):
            return f"whose weights would not be finite in {linear.dtype}"
        self.weights[name] = weights
        self.folds.append(Fold(norm, name, follows))
        if layer.vanishes:
            self._gone.add(norm)
        return None


def _describe(call: Step) -> str:
    """Return a step in words, as in ``relu (block.act)``."""
    if call.op in ("input", "output"):
        return f"the model's {call.op}"
    if not call.module:
        return call.op
    return call.module if call.op == "module" else f"{call.module} ({call.op})"
