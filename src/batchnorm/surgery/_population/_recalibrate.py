"""Recalibration: population statistics estimated anew, with the weights as they are."""

from collections.abc import Iterable
from typing import Any, Literal

from torch.nn import Module

from batchnorm._model._borrow import borrowed
from batchnorm._model._call import Forward, check_batches, feeder
from batchnorm._model._edit import edit
from batchnorm.errors import OptionError
from batchnorm.nn._modes import check_model
from batchnorm.surgery._population._estimates import distance_in_words, estimated, write
from batchnorm.surgery._population._pass import Progress, StatisticsPass
from batchnorm.surgery._population._seen import METHODS, Method, Seen
from batchnorm.surgery._population._targets import Layers, targets
from batchnorm.surgery._record import Record


def recalibrate(
    model: Module,
    batches: Iterable[Any],
    *,
    forward: Forward | None = None,
    method: Literal["exact", "algorithm-2"] = "exact",
    layer_by_layer: bool = False,
    names: Iterable[str] | None = None,
    distributed: bool = True,
    progress: Progress | None = None,
) -> Record:
    r"""Estimate the population statistics of batch-norm layers anew, from data.

    With the weights as they are, dropout off and no gradient, and nothing else of the model
    changed: after averaging weights (SWA), after converting or editing a model, or wherever
    running averages lag behind. By default the statistics are those of all values together,

    .. math::

        \mathrm{E}[x] = \frac{1}{n} \sum_{i=1}^{n} x_i \qquad
        \mathrm{Var}[x] = \frac{1}{n-1} \sum_{i=1}^{n} (x_i - \mathrm{E}[x])^2

    whatever the sizes of the batches; with ``method="algorithm-2"`` those of the paper, every
    batch B of m values with the same weight,

    .. math::

        \mathrm{E}[x] = \mathrm{E}_B[\mu_B] \qquad
        \mathrm{Var}[x] = \mathrm{E}_B\left[\tfrac{m}{m-1}\, \sigma_B^2\right]

    Args:
        model: any model with batch-norm layers of torch, of this package (also those that
            decorrelate, whose covariance is estimated likewise), or derived from those. A layer
            in evaluation mode in a model that trains is frozen and left alone.
        batches: the data. A batch is a tensor, a tuple or list whose first item is the input, or
            a mapping (also as that first item) that is passed as keyword arguments.
        forward: calls the model, which it is given first, on a batch of any other kind.
        method: ``exact`` or ``algorithm-2``.
        layer_by_layer: estimate each layer under the new statistics of those before it, as it
            will run in evaluation. Takes one pass over `batches` per layer, which then must be
            iterable again and again. Otherwise one pass serves all layers, and each normalizes
            with the statistics of its batch, as in training.
        names: qualified names of the layers to estimate; `None` takes all that are not frozen.
        distributed: where `torch.distributed` is initialized, merge what all processes see;
            every process has to call, and ends with the same bits.
        progress: called after every batch with the number of batches done, and how many there
            will be, or `None` where `batches` has no length.

    Returns:
        A record of what was done to each batch-norm layer, and of why other modules that keep
        statistics, such as instance normalization or frozen layers, are left alone.

    Raises:
        OptionError: an option is not one of those above, or `batches` can be used only once and
            `layer_by_layer` needs it again.
        SurgeryError: the model has no layer to estimate, or uninitialized lazy modules.
        DataError: there is no batch, or no batch reaches a layer, or a statistic does not fit the
            buffers.
        NonFiniteError: the input of a layer has a mean or variance that is not finite.
        CountError: a layer gets one value per channel.
        RunError: another process failed.

    Note:
        `running_var` gets the unbiased variance (the biased one in a layer with ``correction=0``)
        and `num_batches_tracked` the number of batches. On any exception, also one of `batches` or
        the model, the model is as it was, bit for bit. The state of torch's random number
        generators never changes.

    References:
        Ioffe and Szegedy (2015), Algorithm 2; Wu and Johnson (2021), "Rethinking 'Batch' in
        BatchNorm", section 3, for why to recalibrate.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Dropout())
        >>> ragged = [torch.full((64, 1), 5.0), torch.full((4, 1), -5.0)]
        >>> print(recalibrate(model, ragged))
        recalibrate: 1 done, 0 left alone
        module  what          detail
        0       recalibrated  68 rows, 2 batches; mean moved 1.9 std, variance 5.62-fold at most
        >>> model[0].running_mean, model[0].running_var
        (tensor([4.4118]), tensor([5.6190]))
    """
    check_model(model)
    how = METHODS.get(method)
    if how is None:
        raise OptionError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    check_batches(batches, again=layer_by_layer)
    chosen = targets(model, names)
    with borrowed(model) as loan:
        passes = StatisticsPass(loan, feeder(model, forward), batches, how, progress, distributed)
        if layer_by_layer:
            seen = _layer_by_layer(passes, chosen.layers, how)
        else:
            seen = passes.under_batch_statistics(chosen.layers)
    found = estimated(chosen.layers, how, seen)
    details = {
        name: f"{seen[name].words()}; {distance_in_words(chosen.layers[name], population)}"
        for name, population in found.items()
    }
    with edit(model) as changes:
        for name, population in found.items():
            write(chosen.layers[name], population, seen[name].batches, changes.copy_)
    return Record("recalibrate", chosen.changes("recalibrated", details, "no batch reached it"))


def _layer_by_layer(passes: StatisticsPass, layers: Layers, method: Method) -> dict[str, Seen]:
    """Let each layer normalize with its population statistics, the new ones where there are."""
    seen: dict[str, Seen] = {}
    for name in passes.order(layers):
        one = {name: layers[name]}
        seen |= passes.everywhere(one)
        if seen[name].batches:
            population = estimated(one, method, seen)[name]
            write(layers[name], population, seen[name].batches)
    return seen
