"""Copies of a model, to be traced or computed in float64 while the model is untouched."""

import copy
from collections.abc import Callable

from torch import Tensor, nn

from batchnorm.errors import SurgeryError


def copied(model: nn.Module, tensor: Callable[[Tensor], Tensor] | None = None) -> nn.Module:
    """Return a deep copy; results that a forward has left on a module are copied without a graph.

    Args:
        model: any module.
        tensor: makes what takes the place of a parameter or buffer; `None` copies it.

    Raises:
        SurgeryError: something that the model holds refuses to be copied.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> model.kept = model.weight * 2  # which copy.deepcopy alone would refuse
        >>> copied(model).kept.requires_grad
        False
    """
    left = (value for module in model.modules() for value in vars(module).values())
    memo = {id(t): t.detach().clone() for t in left if isinstance(t, Tensor) and not t.is_leaf}
    if tensor is not None:
        memo |= {id(t): tensor(t) for t in (*model.parameters(), *model.buffers())}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise SurgeryError(
            "a model that copy.deepcopy can copy is needed, got "
            f"{type(error).__name__} ({error}): take out what it cannot copy, and put it back after"
        ) from error


def twin(model: nn.Module, *, training: bool) -> nn.Module:
    """Return a deep copy in a mode; where the model is in it, parts that are not stay as they are.

    Raises:
        SurgeryError: as `copied`.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
        >>> [part.training for part in twin(model, training=True)]
        [True, False]
    """
    other = copied(model)
    return other if other.training == training else other.train(training)
