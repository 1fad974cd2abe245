"""Noise of the statistics of mini-batches: how much they scatter."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm._model._borrow import borrowed
from batchnorm._model._call import Forward, check_batches, feeder
from batchnorm._model._find import check_initialized, unwrapped
from batchnorm._model._record import Record
from batchnorm._moments import Moments
from batchnorm.errors import CountError, DataError, MeasurementError
from batchnorm.measure._layers import check_names
from batchnorm.nn._decorrelated import DecorrelatedLayer
from batchnorm.nn._input import channel_moments


@dataclass(frozen=True, eq=False)
class LayerNoise(Record):
    """The noise at one batch-norm layer. All tensors are float64, shape ``(C,)``.

    Attributes:
        name: of the layer.
        batches: number of mini-batches.
        count: values per channel of a mini-batch, on average.
        std: standard deviation of all values.
        mean_noise: standard deviation of the mean of a mini-batch.
        variance_noise: standard deviation of the unbiased variance of a mini-batch.
    """

    name: str
    batches: int
    count: float
    std: Tensor
    mean_noise: Tensor
    variance_noise: Tensor

    @property
    def independent_mean_noise(self) -> Tensor:
        r"""What `mean_noise` is for independent values: :math:`\sigma / \sqrt{m}`."""
        return self.std / math.sqrt(self.count)

    @property
    def independent_variance_noise(self) -> Tensor:
        r"""What `variance_noise` is for normal ones: :math:`\sigma^2 \sqrt{2 / (m - 1)}`."""
        return self.std.square() * math.sqrt(2 / (self.count - 1))

    @property
    def effective_count(self) -> float:
        """How many independent values have a mean as noisy; the positions of an image have few."""
        there = self.std > 0
        relative = (self.mean_noise[there] / self.std[there]).square().mean()
        return (1 / relative).item()


@dataclass(frozen=True, eq=False)
class StatisticsNoise(Record):
    """What `statistics_noise` found.

    Attributes:
        layers: those that were asked for and are called, in the model's order.
    """

    layers: tuple[LayerNoise, ...]

    def of(self, name: str) -> LayerNoise:
        """Return what was found for one layer.

        Raises:
            KeyError: there is no such layer.
        """
        return {layer.name: layer for layer in self.layers}[name]


def statistics_noise(
    model: Module,
    batches: Iterable[Any],
    *,
    names: Iterable[str] | None = None,
    forward: Forward | None = None,
    training: bool | None = None,
) -> StatisticsNoise:
    r"""Measure how mean and variance of mini-batches scatter around those of all data.

    For every channel of every batch-norm layer, over B mini-batches of :math:`m_b` values with
    mean :math:`\mu_b`, which are m on average,

    .. math::

        \mathrm{noise}(\mu) = \sqrt{\frac{1}{B - 1} \sum_b \frac{m_b}{m} (\mu_b - \mu)^2}

    and likewise for the variance. Independent values give :math:`\sigma / \sqrt{m}`; the positions
    of an image depend on each other, and give more.

    Args:
        model: a model with batch-norm layers of torch, of this package or derived from those;
            layers that decorrelate are left out.
        batches: mini-batches of the size in question, such as ``x.split(32)`` or a `DataLoader`. A
            batch is a tensor, a tuple or list whose first item is the input, or a mapping (also as
            that first item) that is passed as keyword arguments.
        names: qualified names of the layers; `None` takes all batch-norm layers.
        forward: calls the model, which it is given first, on a batch of any other kind.
        training: in training mode the input of a layer carries the noise of those before it, in
            evaluation mode only its own; `None` leaves every module the mode that it has.

    Returns:
        The noise by layer and channel, beside what independent values would give.

    Raises:
        OptionError: `batches` is a single batch, or a name is no batch-norm layer's.
        MeasurementError: no layer is called, one of `names` is not, or a lazy module is
            uninitialized.
        DataError: a layer gets fewer than two batches.
        CountError: a layer gets a batch of one value per channel.

    Note:
        No statistic and no weight changes. Of the batches only the moments are kept.

    References:
        Ioffe and Szegedy (2015), section 3, for normalization with the statistics of a mini-batch;
        Luo et al. (2019), "Towards Understanding Regularization in Batch Normalization",
        for their noise.

    Example:
        >>> import torch
        >>> x = torch.randn(40_000, 1)
        >>> layer = statistics_noise(torch.nn.BatchNorm1d(1), x.split(100)).of("")
        >>> round(layer.independent_mean_noise.item(), 2), round(layer.mean_noise.item(), 1)
        (0.1, 0.1)
        >>> 80 < layer.effective_count < 125
        True
    """
    check_batches(batches, again=False)
    model = unwrapped(model)
    layers = {name: m for name, m in model.named_modules() if _is_measured(m)}
    wanted = check_names(names, layers, "batch-norm layers")
    seen: dict[str, list[Moments]] = {name: [] for name in wanted}
    call = feeder(model, forward)
    check_initialized(model, MeasurementError)
    with borrowed(model, training=training, parameters=True) as loan, torch.no_grad():
        reader = _Reader(layers)
        for name in wanted:
            loan.hook(layers[name], partial(reader.read, name))
        for batch in batches:
            loan.restore()
            call(batch)
            for name, moments in reader.taken():
                seen[name].append(moments)
    _check_seen(seen, all_of_them=names is not None)
    return StatisticsNoise(tuple(_noise(name, found) for name, found in seen.items() if found))


def _is_measured(module: Module) -> TypeGuard[_BatchNorm]:
    """Return whether a layer normalizes each channel by itself."""
    return isinstance(module, _BatchNorm) and not isinstance(module, DecorrelatedLayer)


class _Reader:
    """Collects the moments of what reaches the layers."""

    def __init__(self, layers: dict[str, _BatchNorm]) -> None:
        self._layers = layers
        self._calls: dict[str, list[Moments]] = {}

    def read(self, name: str, input: Tensor, *_: object, **options: Any) -> None:  # noqa: A002 -- torch's name
        moments = channel_moments(self._layers[name], input, options)
        if moments.count == 1:
            raise CountError(
                "the variance of a mini-batch needs more than one value per channel, got shape "
                f"{tuple(input.shape)} at layer {name!r}: give larger ones, or leave it out"
            )
        if moments.count:
            self._calls.setdefault(name, []).append(moments)

    def taken(self) -> list[tuple[str, Moments]]:
        """Return what the last batch showed each layer, which it may have called several times."""
        found = [(name, calls[0].merge(*calls[1:])) for name, calls in self._calls.items()]
        self._calls.clear()
        return [(name, Moments(*(part.cpu() for part in moments))) for name, moments in found]


def _noise(name: str, batches: list[Moments]) -> LayerNoise:
    everything = batches[0].merge(*batches[1:])
    counts = torch.stack([moments.count.double() for moments in batches])
    share = counts / counts.mean()
    return LayerNoise(
        name,
        len(batches),
        counts.mean().item(),
        everything.variance(correction=1).sqrt(),
        _spread(torch.stack([moments.mean for moments in batches]), share),
        _spread(torch.stack([moments.variance(correction=1) for moments in batches]), share),
    )


def _spread(values: Tensor, share: Tensor) -> Tensor:
    """Return the standard deviation of the rows, each with its share of the values."""
    share = share[:, None]
    squares = (values - (share * values).mean(0)).square()
    return ((share * squares).sum(0) / (len(values) - 1)).sqrt()


def _check_seen(seen: dict[str, list[Moments]], *, all_of_them: bool) -> None:
    counts = {name: len(found) for name, found in seen.items()}
    uncalled = [name for name, count in counts.items() if not count]
    if not any(counts.values()) or (all_of_them and uncalled):
        raise MeasurementError(
            "batch-norm layers that the forward pass calls are needed, got none called among "
            f"{', '.join(map(repr, uncalled)) or 'no layers'}: name others, or give another model"
        )
    if few := [name for name, count in counts.items() if count == 1]:
        raise DataError(
            f"at least two mini-batches are needed to see them differ, got one at {few[0]!r}: "
            "split the data into more"
        )
