"""Walk through the graph from a layer to the linear maps next to it, in either direction."""

from collections.abc import Container
from dataclasses import dataclass

from batchnorm._model._graph import Graph, Step
from batchnorm.surgery._fold._facts import Facts
from batchnorm.surgery._fold._neutral import JOINS, drops, is_neutral, is_sum
from batchnorm.surgery._fold._way import End, Way

SEVERAL = "several steps"


@dataclass(frozen=True)
class Walk:
    """What a walk has found.

    Attributes:
        maps: the linear maps at the other end, in the order of the forward pass.
        ways: backward, the one way from all of them; forward, one to each.
    """

    maps: tuple[Step, ...]
    ways: tuple[Way, ...]


class Walker:
    """Walks past neutral steps and layers of which nothing stays.

    Args:
        facts: what is known of the model.
        maps: names of what is a linear map.
        gone: names of layers of which nothing stays.
    """

    def __init__(self, facts: Facts, maps: Container[str], gone: Container[str]) -> None:
        self._facts = facts
        self._graph: Graph = facts.graph
        self._maps = maps
        self._gone = gone

    def back(self, call: Step) -> Walk | str:
        """Return the linear maps whose results alone reach a layer, or why there are others."""
        first = self._graph.only_input(call)
        if first is None:
            return SEVERAL if call.inputs else "nothing"
        maps: list[Step] = []
        between: list[Step] = []
        if reason := self._back(first, call, maps, between):
            return reason
        way = self._way(maps, between, End(self._facts.shapes[call.module], 1), first)
        return way if isinstance(way, str) else Walk(tuple(maps), (way,))

    def forth(self, call: Step) -> Walk | str:
        """Return the linear maps that alone take a layer's result, or why others do."""
        if not call.users:
            return "nothing"
        found: list[tuple[Step, list[Step]]] = []
        seen = set[int]()
        if reason := self._forth(call, [], found, seen):
            return reason
        found.sort(key=lambda each: each[0].index)
        ways = []
        for last, between in found:
            before = between[-1] if between else call
            end = self._end(before, last.module)
            way = end if isinstance(end, str) else self._way([call], between, end, before)
            if isinstance(way, str):
                return way
            ways.append(way)
        return Walk(tuple(last for last, _ in found), tuple(ways))

    def is_branch(self, call: Step, waiting: Container[str]) -> bool:
        """Return whether a layer is alone between what is no linear map and a sum of linear maps.

        Args:
            call: of the layer.
            waiting: names of layers that may become linear maps too.
        """
        source = self._graph.only_input(call)
        while source is not None and self._may_pass(source) and len(source.inputs) == 1:
            source = self._graph.calls[source.inputs[0]]
        if source is not None and source.module in self._maps:
            return False
        user = self._graph.only_user(call)
        while user is not None and len(user.inputs) == 1 and self._is_neutral(user):
            user = self._graph.only_user(user)
        if user is None or not is_sum(user):
            return False
        return all(self._is_linear(self._graph.calls[index], waiting) for index in user.inputs)

    def _is_linear(self, call: Step, waiting: Container[str]) -> bool:
        if call.module in self._maps or call.module in waiting:
            return True
        if call.module not in self._gone and not self._is_neutral(call):
            return False
        return all(self._is_linear(self._graph.calls[index], waiting) for index in call.inputs)

    def _back(self, call: Step, user: Step, maps: list[Step], between: list[Step]) -> str:
        if self._graph.only_user(call) is not user:
            return f"{describe(call)}, which serves others too"
        if call.module and call.module in self._maps:
            maps.append(call)
            return ""
        if not self._may_pass(call):
            return describe(call)
        for index in call.inputs:
            reason = self._back(self._graph.calls[index], call, maps, between)
            if reason:
                return reason if len(call.inputs) == 1 else f"{call.op}, which takes in {reason}"
        between.append(call)
        return ""

    def _forth(
        self,
        call: Step,
        between: list[Step],
        found: list[tuple[Step, list[Step]]],
        seen: set[int],
    ) -> str:
        for index in call.users:
            user = self._graph.calls[index]
            if index in seen:
                return f"{describe(user)}, at which its results meet again"
            seen.add(index)
            if user.module and user.module in self._maps:
                if len(user.inputs) != 1:
                    return f"{describe(user)}, which takes others too"
                found.append((user, between))
            elif self._may_pass(user) and (len(user.inputs) == 1 or user.op in JOINS):
                if not user.users:
                    return describe(user)
                reason = self._forth(user, [*between, user], found, seen)
                if reason:
                    return reason
            else:
                others = ", which takes others too" if len(user.inputs) > 1 else ""
                return f"{describe(user)}{others}"
        return ""

    def _is_neutral(self, call: Step) -> bool:
        if call.index in self._facts.varying or (self._facts.trains and drops(call)):
            return False
        return is_neutral(call)

    def _may_pass(self, call: Step) -> bool:
        return bool(call.inputs) and (call.module in self._gone or self._is_neutral(call))

    def _way(self, starts: list[Step], between: list[Step], end: End, last: Step) -> Way | str:
        """Return the way past these steps; those of which nothing stays only pass on."""
        aliases = {call.index: call.inputs[0] for call in between if call.module in self._gone}
        steps = tuple(call for call in between if call.index not in aliases)
        inner = {call.index for call in between}
        ends: dict[int, End] = {}
        outside = [index for call in steps for index in call.inputs if index not in inner]
        for index in dict.fromkeys([*(call.index for call in starts), *outside]):
            call = self._graph.calls[index]
            found = self._end(call, call.module)
            if isinstance(found, str):
                return found
            ends[index] = found
        return Way(ends, end, steps, aliases, last.index)

    def _end(self, call: Step, module: str) -> End | str:
        """Return the shape of a step's result, and where a module has its features in it."""
        shape = self._facts.shapes.get(call.module) if call.module else None
        shape = call.shape if shape is None else shape
        if shape is None:
            return f"{describe(call)}, whose shape is not known"
        linear = self._facts.maps.get(module)
        return End(tuple(shape), min(1, len(shape) - 1) if linear is None else linear.features)


def describe(call: Step) -> str:
    """Return a step in words, as in ``relu (block.act)``."""
    if call.op in ("input", "output"):
        return f"the model's {call.op}"
    if not call.module:
        return call.op
    return call.module if call.op == "module" else f"{call.module} ({call.op})"
