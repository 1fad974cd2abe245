"""Captured state: tensors that a transform of `torch.func` was not given, and so must not change.

A transform may change in place what its function takes as an argument. What the function has from
elsewhere belongs to all members of a `vmap`, and to nobody's derivative.
"""

from contextlib import ExitStack

import torch
from torch import _C, Tensor
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack

from batchnorm import kernels
from batchnorm.errors import TransformError
from batchnorm.kernels import RunningStats

_functorch = _C._functorch


def transformed_by_func() -> bool:
    """Whether a transform of `torch.func` is at work, outside a compiler, which has its own."""
    return not torch.compiler.is_compiling() and _C._are_functorch_transforms_active()


def captured(found: Tensor, beside: Tensor) -> bool:
    """Whether a transform was given one tensor and not the other."""
    return transformed_by_func() and _level(found) < _level(beside)


def mapped(x: Tensor) -> bool:
    """Whether a tensor stands for one of many, so that nobody can look at its values."""
    while not torch.compiler.is_compiling() and _functorch.is_functorch_wrapped_tensor(x):
        if _functorch.is_batchedtensor(x):
            return True
        x = _functorch.get_unwrapped(x)
    return False


def update_(running: RunningStats, mean: Tensor, var: Tensor, count: int | Tensor) -> None:
    """Do what `kernels.update_` does, under a transform.

    A counter of what was skipped is in no `state_dict`. Where it was not given with the running
    statistics, it stays the layer's own and counts what all members skip.

    Raises:
        TransformError: the transform was not given the running statistics.
    """
    moved = next((t for t in (running.mean, running.var, running.counter) if t is not None), None)
    if moved is None:
        return
    _check_given(moved, mean)
    skipped = running.skipped
    if skipped is None or _level(skipped) >= _level(moved):
        kernels.update_(running, mean, var, count)
        return
    number = torch.zeros_like(moved, dtype=torch.int64).sum()  # of its own for each member
    kernels.update_(running._replace(skipped=number), mean, var, count)
    _add_below(skipped, number)


def without_captured_counter(running: RunningStats) -> RunningStats:
    """Leave out the counter of what was skipped where a compiled `vmap` was not given it.

    A compiler cannot get below its transforms, so that nobody counts there.
    """
    moved, skipped = running.mean, running.skipped
    if moved is None or skipped is None or not _functorch.is_batchedtensor(moved):
        return running
    return running if _functorch.is_batchedtensor(skipped) else running._replace(skipped=None)


def _level(x: Tensor) -> int:
    level: int = _functorch.maybe_get_level(x)
    return max(level, 0)


def _check_given(moved: Tensor, mean: Tensor) -> None:
    top = _functorch.peek_interpreter_stack()
    kinds, kind = _functorch.TransformType, top.key()
    if _level(moved) >= top.level() or kind == kinds.Functionalize:
        return
    if kind == kinds.Vmap and _level(mean) < top.level():
        return  # all members move them alike
    raise TransformError(
        "a transform of torch.func has to be given the running statistics that training moves, "
        "got captured ones, so that their change would mutate a captured Tensor "
        f"({'vmap' if kind == kinds.Vmap else 'grad, vjp or jvp'}): pass the buffers too with "
        "torch.func.functional_call, or call eval() or freeze(), or normalize with "
        "batchnorm.functional.normalize"
    )


def _add_below(counter: Tensor, number: Tensor) -> None:
    """Add to a captured counter, below the transforms that do not know it, for all members."""
    with ExitStack() as outside:
        while (_functorch.maybe_current_level() or 0) > _level(counter):
            level, of_all = _functorch.maybe_current_level(), None
            if _level(number) == level:
                if _functorch.is_batchedtensor(number):
                    of_all = _functorch.maybe_get_bdim(number)
                number = _functorch.get_unwrapped(number)
            outside.enter_context(temporarily_pop_interpreter_stack())
            if of_all is not None:
                number = number.sum(of_all)
        counter.add_(number)
