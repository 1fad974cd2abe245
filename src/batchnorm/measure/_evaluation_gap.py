"""Evaluation gap: the difference that population statistics make, compared with the batch's."""

from dataclasses import dataclass
from math import hypot, isnan
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm import _axes
from batchnorm._model._borrow import Loan, borrowed
from batchnorm._model._call import Forward, feeder, tensors
from batchnorm._model._find import check_initialized, is_batch_norm, unwrapped
from batchnorm._model._record import Record
from batchnorm._model._statistics import (
    buffers,
    has_buffers,
    other_statistics,
    set_buffers,
)
from batchnorm.errors import CountError, MeasurementError
from batchnorm.measure._vectors import distance, norm, ratio
from batchnorm.nn._modes import Modes


@dataclass(frozen=True)
class LayerGap(Record):
    """The gap of one batch-norm layer.

    Attributes:
        name: of the layer.
        gap: norm of the difference of its outputs under both statistics, on the same input,
            relative to the norm of that under the batch's; over all its calls. NaN where that
            is 0.
    """

    name: str
    gap: float


@dataclass(frozen=True)
class EvaluationGap(Record):
    """What `evaluation_gap` found.

    Attributes:
        output: relative difference of the model's outputs; `None` where `forward` returns none.
        layers: those that train with the statistics of the batch, in the model's order, as far as
            they are called.
        frozen: names of layers that train with population statistics, too, and have no gap.
        others: names of modules that keep statistics of another kind, as instance normalization
            can, and are in evaluation mode.
    """

    output: float | None
    layers: tuple[LayerGap, ...]
    frozen: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def worst(self) -> str:
        """Name of the layer with the largest gap."""
        return max(self.layers, key=lambda layer: -1.0 if isnan(layer.gap) else layer.gap).name


def evaluation_gap(model: Module, batch: Any, *, forward: Forward | None = None) -> EvaluationGap:
    r"""Measure how far population statistics are from those of a batch, by their effect.

    .. math::

        \frac{\lVert f_\mathrm{population}(x) - f_\mathrm{batch}(x) \rVert}
            {\lVert f_\mathrm{batch}(x) \rVert}

    for every batch-norm layer f on its own input x, which reaches it through layers that normalize
    with the batch; so the gap of a layer is of its own statistics, not of those before it. And for
    the whole model, which all gaps together make.

    Args:
        model: a model with batch-norm layers of torch, of this package, also those that
            decorrelate, or derived from those. All else is in evaluation mode.
        batch: a tensor; a tuple or list whose first item is the input; or a mapping, also as that
            first item, that is passed as keyword arguments.
        forward: calls the model, which it is given first, on a batch of any other kind.

    Returns:
        The gap of each layer and of the output.

    Raises:
        MeasurementError: no layer has population statistics, is not frozen and is called, or a lazy
            module is uninitialized.
        CountError: a layer gets one value per channel.
        DataError: `batch` is empty.

    Note:
        Statistics of a batch are noisy. Exact population statistics still have a gap of about
        :math:`\sqrt{3 / (2m)}` on a batch of m independent normal values per channel, where bias is
        0; a gap well above means that they are off. The model is afterwards as it was.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1))
        >>> record = evaluation_gap(model, torch.tensor([[-2.0], [0.0]]))  # mean -1, variance 1
        >>> record.worst, [round(layer.gap, 3) for layer in record.layers]
        ('0', [1.0, 0.0])
    """
    model = unwrapped(model)
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and has_buffers(module)
    }
    strange = {n: m for n, m in model.named_modules() if other_statistics(m)}
    others = [name for name, module in strange.items() if not is_batch_norm(module)]
    frozen = [name for name, layer in layers.items() if _is_frozen(model, layer)]
    frozen += [name for name in strange if name not in others]  # of a class that never trains
    call = feeder(model, forward)
    check_initialized(model, MeasurementError)
    with borrowed(model, training=False, parameters=True) as loan, torch.no_grad():
        population = _floating(call(batch))
        loan.restore()
        loan.rewind()
        gaps = [_Gap(name, layers[name], loan) for name in layers if name not in frozen]
        batchwise = _floating(call(batch))
    found = tuple(gap.record() for gap in gaps if gap.called)
    if not found:
        raise MeasurementError(
            "a batch-norm layer with population statistics that is not frozen and is called is "
            f"needed, got {len(layers)} with statistics, {len(frozen)} of them frozen: unfreeze "
            "them, or give another model"
        )
    output = ratio(distance(population, batchwise), norm(batchwise)) if batchwise else None
    return EvaluationGap(output, found, tuple(frozen), tuple(others))


class _Gap:
    """Lets a layer normalize with the batch, and compares each output with the other one."""

    def __init__(self, name: str, layer: _BatchNorm, loan: Loan) -> None:
        self._name = name
        self._layer = layer
        self._buffers = buffers(layer)
        self._differences: list[float] = []
        self._sizes: list[float] = []
        loan.hook(layer, self._compare)
        self._use(None, None)  # documented by torch: without buffers, the batch

    @property
    def called(self) -> bool:
        return bool(self._sizes)

    def record(self) -> LayerGap:
        return LayerGap(self._name, ratio(hypot(*self._differences), hypot(*self._sizes)))

    def _use(self, mean: Tensor | None, var: Tensor | None) -> None:
        set_buffers(self._layer, mean, var)

    def _compare(self, *arguments: Any, **keywords: Any) -> None:
        self._check_count(next(tensors((arguments, keywords))))
        batchwise = self._layer.forward(*arguments, **keywords)  # no hooks: this is one
        self._use(*self._buffers)
        population = self._layer.forward(*arguments, **keywords)
        self._use(None, None)
        self._differences.append(distance([population], [batchwise]))
        self._sizes.append(norm([batchwise]))

    def _check_count(self, x: Tensor) -> None:
        if _axes.count(x.shape) == 1:
            raise CountError(
                "the statistics of a batch need more than one value per channel, got shape "
                f"{tuple(x.shape)} at layer {self._name!r}: give a larger batch"
            )


def _is_frozen(model: Module, layer: _BatchNorm) -> bool:
    if isinstance(layer, Modes) and layer.frozen:
        return True
    return model.training and not layer.training


def _floating(output: Any) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors(output) if tensor.is_floating_point()]
