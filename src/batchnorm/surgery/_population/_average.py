"""Running statistics for a model whose weights are a moving average: EMA and teacher models."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Module

from batchnorm._model._find import unwrapped
from batchnorm._model._statistics import buffer_names, in_use
from batchnorm.errors import ChannelError, OptionError, SurgeryError
from batchnorm.nn import Layer
from batchnorm.surgery._record import Change, Record

State = Module | Mapping[str, Tensor]
_AVERAGED = ("running_mean", "running_var", "running_cov")
_COUNTER = "num_batches_tracked"


@torch.no_grad()
def average_statistics(target: State, source: State, decay: float) -> Record:
    r"""Update the running statistics of an averaged model as its weights are updated.

    Averaging the parameters alone leaves a teacher's `running_mean` and `running_var` as they
    were, and its evaluation falls behind. Call this beside the update of the weights, with the
    same decay d:

    .. math::

        \mu \leftarrow d\, \mu + (1 - d)\, \mu_{\mathrm{source}} \qquad
        \sigma^2 \leftarrow d\, \sigma^2 + (1 - d)\, \sigma^2_{\mathrm{source}}

    Averaged weights average the inputs of a layer, value by value; they do not mix two
    populations. For :math:`z = d z_t + (1-d) z_s` the mean is exactly the one above, and

    .. math::

        \mathrm{Var}[z] = d\, \sigma_t^2 + (1-d)\, \sigma_s^2 - d (1-d)\, \mathrm{Var}[z_t - z_s]

    so the average of the variances is right up to the last term, which is small while teacher
    and student are close or d is near 0 or 1. The variance of a mixture would add
    :math:`d (1-d) (\mu_t - \mu_s)^2` instead, in the wrong direction.

    Args:
        target: the averaged model or its state, changed in place.
        source: the model in training, or its state. Wrappers for averaging, data parallelism and
            compilation are taken off both.
        decay: weight of what the target has, from 0 (take the source's) to 1.

    Returns:
        A record of what was done to each layer.

    Raises:
        OptionError: `decay` is not between 0 and 1.
        SurgeryError: the two have not the same running statistics, or none.
        ChannelError: a layer has another number of channels in the other.

    Note:
        The counter `num_batches_tracked` becomes the source's. Where layers have
        ``debias=True``, give models and not their states: what is averaged is then what they
        evaluate with. For weights that were averaged over a long way (SWA) the formula is too
        rough: `recalibrate` on training data.

    Example:
        >>> student = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2))
        >>> teacher = torch.optim.swa_utils.AveragedModel(student)
        >>> _ = student[1].running_mean.fill_(10.0)
        >>> print(average_statistics(teacher, student, decay=0.9))
        average_statistics: 1 done, 0 left alone
        module  what
        1       averaged
        >>> teacher.module[1].running_mean
        tensor([1., 1.])
    """
    if not 0.0 <= decay <= 1.0:
        raise OptionError(
            f"decay is the weight of what the target has, from 0 to 1, got {decay}: "
            "torch's momentum is 1 - decay"
        )
    buffers, new = _statistics(target), _statistics(source)
    _check(buffers, new)
    old = buffers | _debiased(target)
    new |= _debiased(source)
    values = {
        name: new[name]
        if name.endswith(_COUNTER)
        else torch.lerp(new[name].to(buffer.device).double(), old[name].double(), decay)
        for name, buffer in _once(buffers).items()
    }
    for name, value in values.items():
        buffers[name].copy_(value)
    layers = dict.fromkeys(name.rpartition(".")[0] for name in values)
    return Record("average_statistics", tuple(Change(name, "averaged") for name in layers))


def _debiasing(state: State) -> dict[str, Layer]:
    """Return the layers that take the start out of their running statistics."""
    if not isinstance(state, Module):
        return {}
    modules = unwrapped(state).named_modules(remove_duplicate=False)
    return {name: m for name, m in modules if isinstance(m, Layer) and m.debias}


def _debiased(state: State) -> dict[str, Tensor]:
    """Return what these layers take for their statistics, under the names of the buffers."""
    return {
        f"{name}.{buffer}".removeprefix("."): value
        for name, layer in _debiasing(state).items()
        for buffer, value in zip(buffer_names(layer), in_use(layer), strict=True)
    }


def _statistics(state: State) -> dict[str, Tensor]:
    """Return the running statistics by name, those of a shared layer under all its names."""
    tensors = (
        dict(unwrapped(state).named_buffers(remove_duplicate=False))
        if isinstance(state, Module)
        else state
    )
    kinds = (*_AVERAGED, _COUNTER)
    return {name: t for name, t in tensors.items() if name.rpartition(".")[2] in kinds}


def _once(buffers: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return each buffer under its first name: a shared one must not be updated twice."""
    first: dict[int, str] = {}
    for name, buffer in buffers.items():
        first.setdefault(buffer.data_ptr() or id(buffer), name)
    return {name: buffers[name] for name in first.values()}


def _check(old: dict[str, Tensor], new: dict[str, Tensor]) -> None:
    if not old and not new:
        raise SurgeryError(
            "models with running statistics are needed, got none in target and source: "
            "there is nothing to average"
        )
    if unpaired := sorted(old.keys() ^ new.keys()):
        name = unpaired[0]
        only = "target" if name in old else "source"
        raise SurgeryError(
            f"target and source need the same running statistics, got {len(unpaired)} names in "
            f"one of them only, such as {name!r} in the {only}: give two models of one kind"
        )
    for name, buffer in old.items():
        if buffer.shape != new[name].shape:
            raise ChannelError(
                "target and source need layers of the same number of channels, got "
                f"{tuple(buffer.shape)} and {tuple(new[name].shape)} for {name!r}: "
                "give two models of one kind"
            )
