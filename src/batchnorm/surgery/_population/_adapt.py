"""Adaptation at test time: population statistics of another domain, for as long as they serve."""

import math
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch.nn import Module

from batchnorm._model._borrow import borrowed
from batchnorm._model._call import Forward, check_batches, feeder
from batchnorm._model._edit import Edit, edit
from batchnorm._model._statistics import Population, correction_of, in_use, population_of
from batchnorm.errors import DataError, OptionError
from batchnorm.nn._modes import check_model
from batchnorm.surgery._population._estimates import distance_in_words, estimated, write
from batchnorm.surgery._population._pass import Progress, StatisticsPass
from batchnorm.surgery._population._seen import METHODS, Parts, Seen
from batchnorm.surgery._population._targets import Layers, targets
from batchnorm.surgery._record import Record


class Adaptation(Record):
    """The record of an adaptation, which can be undone; as a context manager it ends by that.

    Example:
        >>> layer = torch.nn.BatchNorm1d(1)
        >>> with adapt(layer, [torch.tensor([[1.0], [3.0]])]):
        ...     layer.running_mean
        tensor([2.])
        >>> layer.running_mean
        tensor([0.])
    """

    _edit: Edit

    def __init__(self, record: Record, changes: Edit) -> None:
        super().__init__(record.operation, record.changes, record.error)
        object.__setattr__(self, "_edit", changes)  # a record's own fields cannot be set

    def undo(self) -> None:
        """Give the layers the statistics they had before; a second time does nothing."""
        self._edit.undo()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()


def adapt(
    model: Module,
    batches: Iterable[Any],
    *,
    source_weight: float = 0.0,
    forward: Forward | None = None,
    names: Iterable[str] | None = None,
    distributed: bool = True,
    progress: Progress | None = None,
) -> Adaptation:
    r"""Move the population statistics to those of other data, such as that of another domain.

    No labels are needed, and no weight changes. With n rows of the target data and a
    `source_weight` of N,

    .. math::

        \mu = \frac{N}{N+n}\, \mu_s + \frac{n}{N+n}\, \mu_t \qquad
        \sigma^2 = \frac{N}{N+n}\, \sigma_s^2 + \frac{n}{N+n}\, \sigma_t^2

    where s is what the buffers hold (the source) and t what the data show (the target).

    Args:
        model: as for `recalibrate`; frozen layers are left alone.
        batches: data of the target, in batches as for `recalibrate`.
        source_weight: N, how many examples the source's statistics count for. 0 takes the
            target's alone (AdaBN); the fewer examples there are, the more it should be.
        forward: as for `recalibrate`.
        names: as for `recalibrate`.
        distributed: as for `recalibrate`.
        progress: as for `recalibrate`.

    Returns:
        A record with `undo()`, also a context manager that undoes it in the end.

    Raises:
        OptionError: `source_weight` is negative or not finite, or as for `recalibrate`.
        SurgeryError: as for `recalibrate`.
        DataError: the source has statistics that are not finite, or as for `recalibrate`.
        NonFiniteError: as for `recalibrate`.
        CountError: a layer gets one value per channel in a batch.
        RunError: another process failed.

    Note:
        One pass, in which each layer normalizes with the blend of the source and its batch, so
        that after a single batch the model does in evaluation what it did in the pass. The
        counter `num_batches_tracked` stays.

    References:
        Li et al. (2016), "Revisiting Batch Normalization For Practical Domain Adaptation";
        Schneider et al. (2020), "Improving robustness against common corruptions by covariate
        shift adaptation", section 3.

    Example:
        >>> layer = torch.nn.BatchNorm1d(1).eval()
        >>> target = torch.tensor([[1.0], [3.0]])
        >>> print(adapt(layer, [target], source_weight=6.0))
        adapt: 1 done, 0 left alone
        module       what     detail
        (the model)  adapted  2 rows, 75% source; mean moved 0.45 std, variance 1.25-fold at most
        >>> layer.running_mean, layer.running_var
        (tensor([0.5000]), tensor([1.2500]))
    """
    check_model(model)
    if not 0.0 <= source_weight < math.inf:
        raise OptionError(
            "source_weight must be a number of examples, not negative and finite, got "
            f"{source_weight}: take 0 for the target's statistics alone"
        )
    check_batches(batches, again=False)
    exact = METHODS["exact"]
    chosen = targets(model, names)
    sources = {name: in_use(layer) for name, layer in chosen.layers.items()}
    if source_weight:
        _check_sources(sources)
    with borrowed(model) as loan:
        passes = StatisticsPass(loan, feeder(model, forward), batches, exact, progress, distributed)
        seen = _under_blend(passes, chosen.layers, sources, source_weight)
    found, details = {}, {}
    for name, target in estimated(chosen.layers, exact, seen).items():
        rows, layer = seen[name].rows, chosen.layers[name]
        found[name] = _blended(sources[name], target, source_weight / (source_weight + rows))
        share = f"{source_weight / (source_weight + rows):.0%} source"
        details[name] = f"{rows} rows, {share}; {distance_in_words(layer, found[name])}"
    with edit(model) as changes:
        for name, population in found.items():
            write(chosen.layers[name], population, None, changes.copy_)
    record = Record("adapt", chosen.changes("adapted", details, "no batch reached it"))
    return Adaptation(record, changes)


def _check_sources(sources: dict[str, Population]) -> None:
    for name, source in sources.items():
        if not torch.isfinite(source.mean + source.var).all():
            raise DataError(
                "a source of finite statistics is needed, got NaN or Inf in the buffers of layer "
                f"{name!r}: take source_weight=0, or recalibrate on data of the source first"
            )


def _under_blend(
    passes: StatisticsPass, layers: Layers, sources: dict[str, Population], source_weight: float
) -> dict[str, Seen]:
    """Return what each layer sees while all normalize with source and batch blended."""

    def blend(name: str, moments: Parts, rows: int) -> None:
        passes.check_spread(name, moments, rows)
        target = population_of(moments, correction_of(layers[name]))
        share = source_weight / (source_weight + rows)
        write(layers[name], _blended(sources[name], target, share), None)

    return passes.everywhere(layers, blend)


def _blended(source: Population, target: Population, share: float) -> Population:
    """Return the weighted averages; `share` is that of the source."""
    if share == 0.0:  # the source may be anything
        return target
    target = Population(*(statistic.to(source.mean.device) for statistic in target))
    return Population(
        share * source.mean + (1 - share) * target.mean,
        share * source.var + (1 - share) * target.var,
    )
