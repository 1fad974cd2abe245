"""Facts for a fold: what was learned of layers, linear maps and the graph, as data.

They are collected once, before the plan is made, which asks nothing of the model itself.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.utils import parametrize

from batchnorm._model._affine import Affine, affine_of, keeps_statistics, split_of
from batchnorm._model._find import has_hooks, is_batch_norm
from batchnorm._model._graph import Graph
from batchnorm._model._linear import (
    LinearMap,
    Weights,
    feature_dimension,
    is_linear_map,
    mixes_borders,
)
from batchnorm._model._observe import Observation
from batchnorm.nn import Layer
from batchnorm.nn._domain import DomainLayer


@dataclass(frozen=True)
class Norm:
    """A layer.

    Attributes:
        obstacle: why it cannot be taken out, whatever is beside it; "" where it can.
        affine: what it does, where that is an affine map.
        vanishes: whether nothing stays in its place, that is, it has no activation of its own.
        trains: whether it would use the statistics of the batch, because it is in training mode.
        dtype: of its result.
    """

    obstacle: str = ""
    affine: Affine | None = None
    vanishes: bool = True
    trains: bool = False
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Map:
    """A linear map.

    Attributes:
        obstacle: why its weights cannot be changed, whatever is beside it; "" where they can.
        weights: what they are; only where there is no obstacle.
        dtype: in which they are stored.
        features: dimension of its features, in inputs and results.
        mixes_borders: whether a constant that is added to its input arrives weaker at the borders.
    """

    obstacle: str = ""
    weights: Weights | None = None
    dtype: torch.dtype = torch.float32
    features: int = 1
    mixes_borders: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of a model.

    Attributes:
        graph: its graph, or as much of it as its owner has named.
        norms: its layers, by qualified name.
        maps: its linear maps, by qualified name.
        shapes: of the results of both, by name.
        onlookers: the module whose hook receives the result of another, by that one's name.
        hooked: a module with hooks, if there is one; "" for the model itself.
        trains: whether a part of the model is in training mode.
        varying: steps with numbers that depend on the sizes of the inputs.
    """

    graph: Graph
    norms: Mapping[str, Norm] = field(default_factory=dict)
    maps: Mapping[str, Map] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    onlookers: Mapping[str, str] = field(default_factory=dict)
    hooked: str | None = None
    trains: bool = False
    varying: frozenset[int] = frozenset()


def facts_of(
    model: nn.Module, graph: Graph, observations: Mapping[nn.Module, Observation]
) -> Facts:
    """Return what is known of a model.

    Args:
        model: the model, in the modes in which it is folded.
        graph: its graph.
        observations: what a run of it showed of its layers and linear maps.
    """
    return _Collector(model, graph, observations).facts()


class _Collector:
    """Collects the facts. An objection is looked for only after those before it are excluded."""

    def __init__(
        self, model: nn.Module, graph: Graph, observations: Mapping[nn.Module, Observation]
    ) -> None:
        self._graph = graph
        self._seen = observations
        self._names = {module: name for name, module in model.named_modules()}
        self._calls = Counter(call.module for call in graph.calls)
        registries = (module._parameters for module in self._names)  # noqa: SLF001 -- parameters() hides a second holder
        self._holders = Counter(id(p) for registry in registries for p in registry.values())
        domains = (m for m in self._names if isinstance(m, DomainLayer))
        self._of_domains = {layer for module in domains for layer in module.domains}

    def facts(self) -> Facts:
        names = {module: self._names[module] for module in self._seen}
        hooked = [name for module, name in self._names.items() if has_hooks(module)]
        return Facts(
            self._graph,
            {name: self._norm(m) for m, name in names.items() if is_batch_norm(m)},
            {name: self._map(m) for m, name in names.items() if is_linear_map(m)},
            {name: self._seen[module].shape for module, name in names.items()},
            {
                name: min(self._names[onlooker] for onlooker in self._seen[module].onlookers)
                for module, name in names.items()
                if self._seen[module].onlookers
            },
            hooked[0] if hooked else None,
            any(module.training for module in self._names),
        )

    def _norm(self, norm: nn.Module) -> Norm:
        seen = self._seen[norm]
        reads = keeps_statistics(norm) and seen.plain
        split = split_of(norm, seen.shape) if reads else None
        affine = split.affine if split else affine_of(norm, seen.shape) if reads else None
        activated = split is not None or (isinstance(norm, Layer) and norm.activation is not None)
        return Norm(
            next(self._norm_objections(norm, affine), ""),
            affine,
            not activated,
            affine is None and norm.training and keeps_statistics(norm),
            seen.dtype,
        )

    def _map(self, layer: LinearMap) -> Map:
        obstacle = next(self._map_objections(layer), "")
        return Map(
            obstacle,
            None if obstacle else Weights.of(layer),
            layer.weight.dtype,
            feature_dimension(layer, len(self._seen[layer].shape)),
            mixes_borders(layer),
        )

    def _norm_objections(self, norm: nn.Module, affine: Affine | None) -> Iterator[str]:
        if not self._names[norm]:
            yield "it is the model itself"
        if not keeps_statistics(norm):
            yield "it keeps no running statistics: it always normalizes with the batch"
        for objection in self._objections(norm):
            yield f"it {objection}"
        if any(has_hooks(part) for part in norm.children()):
            yield "one of its parts has hooks"
        if norm in self._of_domains:
            yield "it normalizes one of several domains, and the others would change with it"
        if not self._seen[norm].plain:
            yield "it is called with more than its input, or changes the dtype"
        if getattr(norm, "adapting", False):
            yield "it is adapting: it normalizes with the batch"
        if affine is None:
            yield "it does more than scale and shift every channel"
        elif not all(vector.isfinite().all() for vector in affine):
            yield "its scale or shift is not finite"

    def _map_objections(self, layer: LinearMap) -> Iterator[str]:
        if any(self._holders[id(p)] > 1 for p in layer.parameters(recurse=False)):
            yield "shares parameters with another module"
        yield from self._objections(layer)
        if "weight" not in layer._parameters:  # noqa: SLF001 -- a property is computed
            yield "has a weight that is no parameter"
        if layer.weight.is_complex():
            yield "is complex"

    def _objections(self, module: nn.Module) -> Iterator[str]:
        name = self._names[module]
        if self._seen[module].calls == 0:
            yield "is not called"
        if self._seen[module].calls > 1 or self._calls[name] > 1:
            yield "is called more than once"
        if not self._calls[name]:
            yield "is called where the graph cannot be followed"
        if has_hooks(module):
            yield "has hooks"
        if parametrize.is_parametrized(module):
            yield "has parametrizations"
        if name in self._graph.exposed:
            yield "has parameters or buffers that something else reads"
