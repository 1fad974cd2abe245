"""Way between a layer and linear maps: whether a scale and a shift can move along it, by numbers.

The steps of a way are repeated on tensors that tell where every channel arrives and with which
weight. What follows from that is then tried on random values in float64, so that no rule about an
operation has to be believed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from batchnorm._model._affine import Affine
from batchnorm._model._graph import Step
from batchnorm.surgery._fold._neutral import takes_maxima

_TOLERANCE = 1e-9
Values = dict[int, Tensor]

ELSEWHERE = "whose features are in another dimension than the layer's channels"
NOT_PAST = "past which its scale and shift cannot be moved"
NEGATIVE = "which takes maxima, and a scale of the layer is below zero"
RANDOM = "which draws random numbers in evaluation too"


class End(NamedTuple):
    """One end of a way.

    Attributes:
        shape: of the tensor there.
        dim: the dimension of its features or channels.
    """

    shape: tuple[int, ...]
    dim: int

    @property
    def features(self) -> int:
        """How many there are."""
        return self.shape[self.dim]

    def spread(self, vector: Tensor) -> Tensor:
        """Return a tensor of this shape with one value for each feature."""
        line = [-1 if dim == self.dim else 1 for dim in range(len(self.shape))]
        return vector.double().reshape(line).expand(self.shape)

    def by_feature(self, x: Tensor) -> Tensor:
        """Return the values of such a tensor, shape ``(features, others)``."""
        return x.movedim(self.dim, 0).flatten(1)

    def applied(self, affine: Affine, x: Tensor) -> Tensor:
        """Return an affine map of the features of such a tensor."""
        return self.spread(affine.scale.cpu()) * x + self.spread(affine.shift.cpu())


@dataclass(frozen=True)
class Way:
    """Steps between layers and linear maps.

    Attributes:
        starts: what enters, by the step that makes it.
        end: what leaves.
        steps: in forward order; none where what enters is what leaves.
        aliases: for a step of which nothing stays, the step whose result it passes on.
        last: the step whose result leaves.
    """

    starts: Mapping[int, End]
    end: End
    steps: tuple[Step, ...]
    aliases: Mapping[int, int]
    last: int

    def __call__(self, values: Values) -> Tensor:
        """Return what leaves where these values enter."""
        results = dict(values)
        for source, target in self._passed_on(results):
            results[target] = results[source]
        for step in self.steps:
            assert step.replay is not None  # noqa: S101 -- it is neutral
            results[step.index] = step.replay(results)
            for source, target in self._passed_on(results):
                results[target] = results[source]
        return results[self.last]

    def _passed_on(self, results: Values) -> Iterator[tuple[int, int]]:
        waiting = dict(self.aliases)
        while ready := [t for t, s in waiting.items() if s in results and t not in results]:
            for target in ready:
                yield waiting.pop(target), target


def affines_before(way: Way, affine: Affine) -> dict[int, Affine] | str:
    """Return the affine maps of what enters that do what one of what leaves does, or why none do.

    A shift goes to the first of several summands that arrives everywhere with the same weight.

    Args:
        way: to a layer; its end is the layer's input.
        affine: what the layer does.
    """
    channels = affine.scale.numel()
    if way.end.shape[1:2] != (channels,):
        return ELSEWHERE
    if not way.steps:
        (start,) = way.starts
        return {start: affine} if way.starts[start].dim == way.end.dim else ELSEWHERE
    return _tried(way, affine, _backward)


def affine_behind(way: Way, affine: Affine) -> Affine | str:
    """Return the affine map of what leaves that does what one of the layer does, or why none does.

    Args:
        way: from a layer, whose result is the first of its starts; others are left as they are.
        affine: what the layer does.
    """
    if not way.steps:
        (start,) = way.starts.values()
        return affine if start.dim == way.end.dim else ELSEWHERE
    found = _tried(way, affine, _forward)
    return found if isinstance(found, str) else found[way.last]


Solver = Callable[[Way, Affine], dict[int, Affine] | str]


def _tried(way: Way, affine: Affine, solve: Solver) -> dict[int, Affine] | str:
    if any(map(takes_maxima, way.steps)) and (affine.scale < 0).any():
        return NEGATIVE
    on_cpu = Affine(affine.scale.cpu(), affine.shift.cpu())
    with torch.no_grad(), torch.random.fork_rng([]):
        before = torch.get_rng_state()
        try:
            way(_filled(way, 0.0))
        except (RuntimeError, TypeError, ValueError):  # as where a type or a device is written out
            return NOT_PAST
        if not torch.equal(before, torch.get_rng_state()):
            return RANDOM
        found = solve(way, on_cpu)
    if isinstance(found, str):
        return found
    device = affine.scale.device
    return {index: Affine(*(v.to(device) for v in each)) for index, each in found.items()}


def _backward(way: Way, affine: Affine) -> dict[int, Affine] | str:
    zero = way(_filled(way, 0.0))
    constant = _uniform(way.end.by_feature(zero))
    missing = affine.shift + (affine.scale - 1.0) * constant.nan_to_num()
    if missing[constant.isnan()].any() or (affine.scale[constant.isnan()] != 1.0).any():
        return NOT_PAST
    found = {}
    for index, start in way.starts.items():
        arrival = _arrival(way, index, zero)
        if arrival is None:
            return ELSEWHERE
        weights, sources, reached = arrival
        channel = _only(sources[reached], _rows(sources)[reached], start.features)
        if channel is None:
            return ELSEWHERE
        weight = _uniform(weights).nan_to_num()
        serves = weight != 0
        shift = torch.where(serves, missing / torch.where(serves, weight, 1.0), 0.0)
        missing = torch.where(serves, 0.0, missing)
        found[index] = _picked(affine._replace(shift=shift), channel)
    if missing.any() or not _alike(way, affine, found):
        return NOT_PAST
    return found


def _forward(way: Way, affine: Affine) -> dict[int, Affine] | str:
    zero = way(_filled(way, 0.0))
    start = next(iter(way.starts))
    arrival = _arrival(way, start, zero)
    if arrival is None:
        return ELSEWHERE
    weights, sources, reached = arrival
    channel = _only(_rows(sources)[reached], sources[reached], way.end.features)
    if channel is None:
        return ELSEWHERE
    taken = _picked(affine, channel)
    constant, weight = _uniform(way.end.by_feature(zero)), _uniform(weights)
    shift = torch.where(taken.shift == 0, 0.0, weight * taken.shift)
    shift = shift + torch.where(taken.scale == 1.0, 0.0, (1.0 - taken.scale) * constant)
    found = Affine(taken.scale, shift)
    return {way.last: found} if shift.isfinite().all() and _fits(way, affine, found) else NOT_PAST


class _Arrival(NamedTuple):
    """Where the features of a start arrive, by feature of the end.

    Attributes:
        weights: with which weight.
        sources: the feature that arrives, where one does.
        reached: where one does.
    """

    weights: Tensor
    sources: Tensor
    reached: Tensor


def _arrival(way: Way, index: int, zero: Tensor) -> _Arrival | None:
    """Return where the features of a start arrive; nothing where they are mixed."""
    start = way.starts[index]
    numbers = 1.0 + torch.arange(start.features)
    ones, marks = (
        way.end.by_feature(way(_filled(way, 0.0) | {index: start.spread(v)}) - zero)
        for v in (torch.ones(start.features), numbers)
    )
    reached = ones.abs() > _TOLERANCE
    numbers = torch.where(reached, marks / torch.where(reached, ones, 1.0), 1.0) - 1.0
    sources = numbers.round()
    if ((numbers - sources).abs() > 1e-6).any() or (sources < 0).any():  # noqa: PLR2004 -- far from the next
        return None
    return _Arrival(ones, sources.long().clamp(max=start.features - 1), reached)


def _only(of: Tensor, values: Tensor, number: int) -> Tensor | None:
    """Return the one value of each; -1 where there is none, nothing where one has several."""
    table = torch.full((number,), -1)
    table[of] = values
    return table if torch.equal(table[of], values) else None


def _picked(affine: Affine, channel: Tensor) -> Affine:
    """Return the affine maps of these channels; the identity for -1."""
    known = channel >= 0
    return Affine(
        torch.where(known, affine.scale[channel], 1.0),
        torch.where(known, affine.shift[channel], 0.0),
    )


def _uniform(values: Tensor) -> Tensor:
    """Return the value of each row; NaN where it has several."""
    low, high = values.min(1).values, values.max(1).values
    return torch.where((high - low) <= _TOLERANCE * high.abs().clamp(min=1.0), low, torch.nan)


def _alike(way: Way, affine: Affine, found: dict[int, Affine]) -> bool:
    values = _random(way)
    moved = {index: way.starts[index].applied(each, values[index]) for index, each in found.items()}
    return _same(way.end, way(moved), way.end.applied(affine, way(values)))


def _fits(way: Way, affine: Affine, found: Affine) -> bool:
    values = _random(way)
    first, start = next(iter(way.starts.items()))
    moved = values | {first: start.applied(affine, values[first])}
    return _same(way.end, way(moved), way.end.applied(found, way(values)))


def _same(end: End, found: Tensor, expected: Tensor) -> bool:
    error = end.by_feature((found - expected).abs()).max(1).values
    size = end.by_feature(expected.abs()).max(1).values
    return bool((error <= _TOLERANCE * size).all())


def _filled(way: Way, value: float) -> Values:
    return {
        index: torch.full(start.shape, value, dtype=torch.float64)
        for index, start in way.starts.items()
    }


def _random(way: Way) -> Values:
    generator = torch.Generator().manual_seed(0)
    return {
        index: torch.randn(start.shape, generator=generator, dtype=torch.float64)
        for index, start in way.starts.items()
    }


def _rows(values: Tensor) -> Tensor:
    """Return the number of its row for each value."""
    return torch.arange(len(values))[:, None].expand(values.shape)
