"""Moving the running statistics as one operator, where somebody counts operators.

Selective checkpointing pairs the operators of a forward with those of its recomputation, by name
and number. The recomputation moves nothing, so a move must not be among torch's own operators: the
ones behind it would be paired with the wrong ones.
"""

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from batchnorm import kernels
from batchnorm.kernels import Running

_MOVE = (
    "move_(Tensor(a!)? mean, Tensor(b!)? var, Tensor(c!)? counter, Tensor(d!)? skipped,"
    " Tensor batch_mean, Tensor batch_var, int count, Tensor? weight, float? momentum, bool skip,"
    " int correction) -> ()"
)


def define(library: torch.library.Library) -> None:
    """Define ``torch.ops.batchnorm.move_``."""
    library.define(_MOVE)
    library.impl("move_", _compute, "CompositeExplicitAutograd")
    torch.library.register_fake("batchnorm::move_", lambda *_: None, lib=library)


def move_(running: Running, mean: Tensor, var: Tensor, count: int | Tensor) -> None:
    """Do what `kernels.update_` does; the momentum has to be a number or `None`."""
    weight = count if isinstance(count, Tensor) else None
    torch.ops.batchnorm.move_(
        running.mean,
        running.var,
        running.counter,
        running.skipped,
        mean,
        var,
        0 if isinstance(count, Tensor) else count,
        weight,
        running.momentum,
        running.skip,
        running.correction,
    )


def _compute(
    mean: Tensor | None,
    var: Tensor | None,
    counter: Tensor | None,
    skipped: Tensor | None,
    batch_mean: Tensor,
    batch_var: Tensor,
    count: int,
    weight: Tensor | None,
    momentum: float | None,
    skip: bool,
    correction: int,
) -> None:
    changed = (mean, var, counter, skipped)  # below autograd, which has to see that
    increment_version([tensor for tensor in changed if tensor is not None])
    running = Running(mean, var, counter, momentum, skip, skipped, correction)
    kernels.update_(running, batch_mean, batch_var, count if weight is None else weight)
