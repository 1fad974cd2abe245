"""What speaks against touching one layer or one linear map, whatever stands beside it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from torch import nn
from torch.nn.utils import parametrize

from batchnorm.nn._domain import DomainLayer

from ._affine import Affine, affine_of, keeps_statistics
from ._graph import Graph
from ._kinds import has_hooks
from ._linear import LinearMap, feature_dimension
from ._moves import Move, carried
from ._observe import Seen


class Facts:
    """What is known of a model: its graph, and what a run of it showed.

    An objection is a reason in words; `None` is no objection. Each is looked for only after those
    before it, on whose absence it may rely.

    Attributes:
        graph: its graph, or as much of it as its owner has named.
        modules: its modules by their first qualified name.
        affine: what the layers do that are affine maps in the mode they are in, by name.
    """

    def __init__(self, model: nn.Module, graph: Graph, seen: Mapping[nn.Module, Seen]) -> None:
        self.graph = graph
        self.modules: dict[str, nn.Module] = dict(model.named_modules())
        self.affine: dict[str, Affine] = {}
        self._names = {module: name for name, module in self.modules.items()}
        self._seen = seen
        for module in filter(keeps_statistics, seen):
            if seen[module].plain and (affine := affine_of(module, seen[module].shape)):
                self.affine[self._names[module]] = affine
        self._of_domains = {
            layer
            for module in self._names
            if isinstance(module, DomainLayer)
            for layer in module.domains
        }
        registries = (module._parameters for module in self._names)  # noqa: SLF001 -- parameters() hides a second holder
        self._holders = Counter(id(p) for registry in registries for p in registry.values())

    def in_training(self, norms: Iterable[str]) -> list[str]:
        """Return the layers that would use the statistics of the batch, because they train."""
        modules = ((name, self.modules[name]) for name in norms if name not in self.affine)
        return [name for name, norm in modules if norm.training and keeps_statistics(norm)]

    def against_norm(self, name: str) -> str | None:
        """Return what speaks against taking a layer out."""
        return next(self._norm_objections(name), None)

    def against_map(self, name: str) -> str | None:
        """Return what speaks against changing the weights of a linear map."""
        return next(self._map_objections(name), None)

    def against_passage(self, name: str) -> str | None:
        """Return what speaks against other values in the result of a module."""
        onlookers = [self._names[module] for module in self._seen[self.modules[name]].onlookers]
        return f"is watched by a hook of {min(onlookers)}" if onlookers else None

    def against_passages(self) -> str | None:
        """Return what speaks against other values in results that no run has followed."""
        hooked = [name for name, module in self.modules.items() if has_hooks(module)]
        return f"may be watched by a hook of {hooked[0] or 'the model'}" if hooked else None

    def aligned(self, norm: str, layer: LinearMap, moves: Iterable[Move], *, follows: bool) -> bool:
        """Say whether the linear map's features are the layer's channels.

        Args:
            norm: name of the layer.
            layer: the linear map.
            moves: what happens between the two, in the order of the forward pass.
            follows: whether the layer comes after the linear map.
        """
        features = feature_dimension(layer, len(self._seen[layer].shape))
        start, end = (features, 1) if follows else (1, features)
        place = self._seen[layer if follows else self.modules[norm]].shape, start
        for move in moves:
            found = carried(move, *place)
            if found is None:
                return False
            place = found
        return place[1] == end

    def _norm_objections(self, name: str) -> Iterator[str]:
        if not name:
            yield "it is the model itself"
        norm = self.modules[name]
        if not keeps_statistics(norm):
            yield "it keeps no running statistics: it always normalizes with the batch"
        for objection in self._objections(name):
            yield f"it {objection}"
        if norm in self._of_domains:
            yield "it normalizes one of several domains, and the others would change with it"
        if not self._seen[norm].plain:
            yield "it is called with more than its input, or changes the dtype"
        if getattr(norm, "adapting", False):
            yield "it is adapting: it normalizes with the batch"
        if name not in self.affine:
            yield "it does more than scale and shift every channel"
        elif not all(vector.isfinite().all() for vector in self.affine[name]):
            yield "its scale or shift is not finite"

    def _map_objections(self, name: str) -> Iterator[str]:
        layer = self.modules[name]
        if any(self._holders[id(p)] > 1 for p in layer.parameters(recurse=False)):
            yield "shares parameters with another module"
        yield from self._objections(name)
        if "weight" not in layer._parameters:  # noqa: SLF001 -- a property is computed
            yield "has a weight that is no parameter"

    def _objections(self, name: str) -> Iterator[str]:
        module, calls = self.modules[name], self.graph.calls_of(name)
        if self._seen[module].calls == 0:
            yield "is not called"
        if self._seen[module].calls > 1 or len(calls) > 1:
            yield "is called more than once"
        if not calls:
            yield "is called where the graph cannot be followed"
        if has_hooks(module):
            yield "has hooks"
        if parametrize.is_parametrized(module):
            yield "has parametrizations"
        if name in self.graph.exposed:
            yield "has parameters or buffers that something else reads"
