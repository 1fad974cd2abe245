"""Which layers are folded into which linear maps, and why the others are not."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from batchnorm.nn._layer import Layer

from ._fold_facts import Facts
from ._graph import Call
from ._kinds import activation_module
from ._linear import LinearMap, Weights, is_linear_map, mixes_borders
from ._moves import Move


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
    left = {norm: reason for norm in norms if (reason := facts.against_norm(norm))}
    planner = _Planner(facts)
    verdicts = {norm: "" for norm in norms if norm not in left}
    progress = True
    while progress:  # a layer that is gone may bring another next to a linear map
        waiting = list(verdicts)
        verdicts = {norm: reason for norm in waiting if (reason := planner.judge(norm))}
        progress = len(verdicts) < len(waiting)
    return Plan(tuple(planner.folds), planner.weights, {**left, **verdicts})


def substitute(norm: nn.Module) -> nn.Module:
    """Return what stays in the place of a layer that is folded: its activation, if it has one."""
    rest = activation_module(norm) if isinstance(norm, Layer) else nn.Identity()
    return rest.train(norm.training)


@dataclass(frozen=True)
class _Neighbour:
    """The step next to a layer, and what moves the values between them, in forward order."""

    call: Call
    moves: list[Move]


class _Planner:
    def __init__(self, facts: Facts) -> None:
        self.folds: list[Fold] = []
        self.weights: dict[str, Weights] = {}
        self._facts = facts
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
        layer = self._facts.modules[name] if name else None
        if layer is None or not is_linear_map(layer):
            return _describe(found.call)
        reason = next(self._objections(norm, layer, found, follows=follows), None) or self._fold(
            norm, name, layer, follows=follows
        )
        return reason and f"{name}, {reason}"

    def _neighbour(self, norm: str, *, follows: bool) -> _Neighbour | str:
        """Return the step next to a layer, past those that only move values, or why none is."""
        graph = self._facts.graph
        moves: list[Move] = []
        call = graph.calls_of(norm)[0]
        while True:
            other = graph.only_input(call) if follows else graph.only_user(call)
            if other is None:
                return "several steps" if (call.inputs if follows else call.users) else "nothing"
            back = graph.only_user(other) if follows else graph.only_input(other)
            if back is not call:
                return f"{_describe(other)}, which {'serves' if follows else 'takes'} others too"
            if other.move is not None:
                moves.insert(0 if follows else len(moves), other.move)
            elif other.module not in self._gone:
                return _Neighbour(other, moves)
            call = other

    def _objections(
        self, norm: str, layer: LinearMap, found: _Neighbour, *, follows: bool
    ) -> Iterator[str]:
        facts = self._facts
        if reason := facts.against_map(found.call.module):
            yield f"which {reason}"
        if reason := self._against_passages(norm, found, follows=follows):
            yield f"but {reason}"
        if not facts.aligned(norm, layer, found.moves, follows=follows):
            yield "whose features are in another dimension than the layer's channels"
        if not follows and not _vanishes(facts.modules[norm]):
            yield "but through its own activation"
        if not follows and mixes_borders(layer) and facts.affine[norm].shift.any():
            yield "which pads with zeros that the layer does not shift"

    def _against_passages(self, norm: str, found: _Neighbour, *, follows: bool) -> str | None:
        """Return what speaks against other values between the layer and the linear map."""
        if found.moves:
            return self._facts.against_passages()
        between = self._facts.graph.only_input(self._facts.graph.calls_of(norm)[0])
        return self._facts.against_passage(between.module if follows and between else norm)

    def _fold(self, norm: str, name: str, layer: LinearMap, *, follows: bool) -> str | None:
        affine = self._facts.affine[norm]
        before = self.weights.get(name) or Weights.of(layer)
        weights = before.then(affine) if follows else before.after(affine)
        if not weights.fit(layer):
            return f"whose weights would not be finite in {layer.weight.dtype}"
        self.weights[name] = weights
        self.folds.append(Fold(norm, name, follows))
        if _vanishes(self._facts.modules[norm]):
            self._gone.add(norm)
        return None


def _vanishes(norm: nn.Module) -> bool:
    return isinstance(substitute(norm), nn.Identity)


def _describe(call: Call) -> str:
    """Return a step in words, as in ``relu (block.act)``."""
    if call.op in ("input", "output"):
        return f"the model's {call.op}"
    if not call.module:
        return call.op
    return call.module if call.op == "module" else f"{call.module} ({call.op})"
