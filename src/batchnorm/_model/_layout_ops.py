"""Layout operations (transpose, flatten, view): which dimension the channels have afterwards."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LayoutOp = Callable[[Tensor], Tensor]

_LAYOUT_OPS = frozenset(
    (
        *("alias", "contiguous", "flatten", "mT", "movedim", "permute", "reshape"),
        *("squeeze", "swapaxes", "swapdims", "transpose", "unflatten", "unsqueeze", "view"),
    )
)


def layout_op_of(
    op: str, function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> LayoutOp | None:
    """Return how a call rearranges values, if that is all it does.

    Args:
        op: torch's word for the function.
        function: what was called.
        args: its arguments.
        kwargs: its keyword arguments.
    """
    if not args or not isinstance(args[0], Tensor):
        return None
    if op not in _LAYOUT_OPS and not (op == "getitem" and _takes_everything(args[1])):
        return None
    rest = args[1:]
    return lambda x: function(x, *rest, **kwargs)


def dimension_after(
    layout_op: LayoutOp, shape: tuple[int, ...], dim: int
) -> tuple[tuple[int, ...], int] | None:
    """Return the shape after an operation, and which dimension one has become, if one has.

    Args:
        layout_op: how the values are rearranged.
        shape: before it.
        dim: the dimension.

    Example:
        >>> dimension_after(lambda x: x.transpose(1, 2), (2, 5, 4), dim=2)
        ((2, 4, 5), 1)
        >>> dimension_after(lambda x: x.flatten(0, 1), (2, 5, 4), dim=2)
        ((10, 4), 1)
        >>> dimension_after(lambda x: x.flatten(1), (2, 5, 4), dim=2)
    """
    result = layout_op(_index(shape, dim).contiguous())
    for candidate, size in enumerate(result.shape):
        if size == shape[dim] and torch.equal(result, _index(result.shape, candidate)):
            return tuple(result.shape), candidate
    return None


def _takes_everything(key: Any) -> bool:
    """Whether indexing with it only adds dimensions, as in ``x[None]``."""
    keys = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is ... or _is_whole_slice(part) for part in keys)


def _is_whole_slice(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def _index(shape: tuple[int, ...], dim: int) -> Tensor:
    """Return a tensor whose every value is its index in one dimension."""
    line = torch.arange(shape[dim])
    return line.reshape([-1 if d == dim else 1 for d in range(len(shape))]).expand(shape)
