"""Pooled statistics: those of all data, from models that have each seen a part of them."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch.nn import Module
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm._model._find import unwrapped
from batchnorm._model._statistics import (
    correction_of,
    has_buffers,
    in_use,
    other_statistics,
    population_of,
)
from batchnorm._moments import Moments
from batchnorm.errors import ChannelError, CountError, OptionError, SurgeryError
from batchnorm.functional import Comoments
from batchnorm.nn._decorrelated import DecorrelatedLayer
from batchnorm.surgery._population._estimates import write
from batchnorm.surgery._population._seen import Parts, merged
from batchnorm.surgery._population._targets import Layers
from batchnorm.surgery._record import LEFT_ALONE, Change, Record

Counts = Sequence[int | Mapping[str, int]]


@torch.no_grad()
def pool_statistics(target: Module, sources: Sequence[Module], counts: Counts) -> Record:
    r"""Give a model the running statistics of all data that several models have seen in parts.

    For clients that train apart (federated learning) and for shards of a data set. Unlike an
    average, this takes in what the parts' means differ by. With n the sum of the counts:

    .. math::

        \mu = \frac{1}{n}\sum_i n_i \mu_i \qquad
        (n - c)\, \sigma^2 = \sum_i (n_i - c)\, \sigma_i^2 + n_i (\mu_i - \mu)^2

    where c is the layer's correction: 1, as in torch, where the running variance is unbiased.

    Args:
        target: the model that gets the statistics, changed in place; it may be one of `sources`.
        sources: models with the same layers. Wrappers for averaging, data parallelism and
            compilation are taken off. Statistics are taken as evaluation takes them.
        counts: for each source how many values a channel had: a number for all layers, or a
            number for each layer by name. Behind a convolution that is samples times positions.
            Only the ratios matter but for the correction, which vanishes with large numbers.

    Returns:
        A record of what was done to each layer.

    Raises:
        OptionError: there are no sources, or not one count for each.
        CountError: a count does not exceed the layer's correction.
        SurgeryError: the models have not the same layers with running statistics, or none.
        ChannelError: a layer has another number of channels in another model.

    Note:
        Exact where each model's statistics are: after `recalibrate`, or trained with
        ``momentum=None``. The counter `num_batches_tracked` becomes the sum of the sources'.

    References:
        Chan, Golub and LeVeque (1979), "Updating Formulae and a Pairwise Algorithm for
        Computing Sample Variances", equation 2.1.

    Example:
        >>> parts = torch.randn(40, 1), 10 + torch.randn(60, 1)
        >>> clients = [torch.nn.BatchNorm1d(1, momentum=None) for _ in parts]
        >>> for client, part in zip(clients, parts, strict=True):
        ...     _ = client(part)
        >>> server = torch.nn.BatchNorm1d(1)
        >>> print(pool_statistics(server, clients, counts=[40, 60]))
        pool_statistics: 1 done, 0 left alone
        module       what
        (the model)  pooled
        >>> whole = torch.cat(parts)
        >>> bool((server.running_var - whole.var(0)).abs() < 1e-4)
        True
    """
    if not sources or len(sources) != len(counts):
        raise OptionError(
            "pool_statistics needs sources and one count for each, "
            f"got {len(sources)} and {len(counts)}: count the values that a channel of each had"
        )
    layers, parts = _layers(target), [_layers(source) for source in sources]
    for found in parts:
        _check(layers, found)
    pooled = {
        name: _pooled(
            [found[name] for found in parts], [_count(count, name) for count in counts], name
        )
        for name in layers
    }
    seen = {name: sum(_batches(found[name]) for found in parts) for name in layers}
    for name, layer in layers.items():
        write(layer, population_of(pooled[name], correction_of(layer)), seen[name])
    return Record("pool_statistics", tuple(_changes(unwrapped(target), layers)))


def _changes(model: Module, layers: Layers) -> Iterator[Change]:
    for name, module in model.named_modules():
        if name in layers:
            yield Change(name, "pooled")
        elif isinstance(module, _BatchNorm):
            yield Change(name, LEFT_ALONE, "no running statistics")
        elif reason := other_statistics(module):
            yield Change(name, LEFT_ALONE, reason)


def _layers(model: Module) -> Layers:
    return {
        name: module
        for name, module in unwrapped(model).named_modules()
        if isinstance(module, _BatchNorm) and has_buffers(module)
    }


def _check(layers: Layers, found: Layers) -> None:
    if not layers or layers.keys() != found.keys():
        raise SurgeryError(
            "models with the same layers with running statistics are needed, got "
            f"{len(layers)} in target and {len(found)} in a source: give models of one kind"
        )
    for name, layer in layers.items():
        if layer.num_features != found[name].num_features:
            raise ChannelError(
                "target and sources need layers of the same number of channels, got "
                f"{layer.num_features} and {found[name].num_features} for {name!r}: "
                "give models of one kind"
            )


def _count(count: int | Mapping[str, int], name: str) -> int:
    if not isinstance(count, Mapping):
        return count
    if name not in count:
        raise OptionError(f"counts by name need one for each layer, got none for {name!r}: add it")
    return count[name]


def _pooled(layers: list[_BatchNorm], counts: list[int], name: str) -> Parts:
    parts: list[Parts] = []
    for layer, count in zip(layers, counts, strict=True):
        degrees = count - correction_of(layer)
        if degrees <= 0:
            raise CountError(
                f"a part needs more than {correction_of(layer)} values a channel, "
                f"got {count} for {name!r}: leave it out"
            )
        mean, var = in_use(layer)
        number = torch.full((), count, dtype=torch.int64, device=mean.device)
        kind = Comoments if isinstance(layer, DecorrelatedLayer) else Moments
        parts.append(kind(number, mean, var * degrees))
    device = parts[0].mean.device
    return merged(*(type(part)(*(each.to(device) for each in part)) for part in parts))


def _batches(layer: _BatchNorm) -> int:
    return 0 if layer.num_batches_tracked is None else int(layer.num_batches_tracked)
