"""Update of the running statistics as one operator, where somebody counts operators.

Selective checkpointing pairs the operators of a forward with those of its recomputation, by name
and number. The recomputation moves nothing, so a move must not be among torch's own operators: the
ones behind it would be paired with the wrong ones.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from batchnorm import kernels
from batchnorm.kernels import RunningStats

_MOVE = (
    "move_(Tensor(a!)? mean, Tensor(b!)? var, Tensor(c!)? counter, float? momentum, bool skip,"
    " Tensor(d!)? skipped, int correction, Tensor batch_mean, Tensor batch_var, int count,"
    " Tensor? weight) -> ()"
)


def define(library: torch.library.Library) -> None:
    """Define ``torch.ops.batchnorm.move_``."""
    library.define(_MOVE)
    library.impl("move_", _compute, "CompositeExplicitAutograd")
    torch.library.register_fake("batchnorm::move_", lambda *_: None, lib=library)


def move_(running: RunningStats, mean: Tensor, var: Tensor, count: int | Tensor) -> None:
    """Do what `kernels.update_` does; the momentum has to be a number or `None`."""
    weight = count if isinstance(count, Tensor) else None
    torch.ops.batchnorm.move_(
        *running, mean, var, 0 if isinstance(count, Tensor) else count, weight
    )


def _compute(*arguments: Any) -> None:
    """Update, below autograd, which has to see it; the arguments are those of the schema."""
    *described, mean, var, count, weight = arguments
    running = RunningStats(*described)
    changed = (running.mean, running.var, running.counter, running.skipped)
    increment_version([tensor for tensor in changed if tensor is not None])
    kernels.update_(running, mean, var, count if weight is None else weight)
