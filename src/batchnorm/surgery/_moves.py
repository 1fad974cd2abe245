"""Where the channels go when values are only moved: transposed, flattened, viewed."""

from collections.abc import Callable

import torch
from torch import Tensor, fx

Move = Callable[[Tensor], Tensor]

_MOVES = frozenset(
    (
        *("alias", "contiguous", "flatten", "mT", "movedim", "permute", "reshape"),
        *("squeeze", "swapaxes", "swapdims", "transpose", "unflatten", "unsqueeze", "view"),
    )
)


def move_of(op: str, node: fx.Node) -> Move | None:
    """Return what a step does to the place of values, if that is all it does.

    Args:
        op: torch's word for the step.
        node: its node.
    """
    target, rest = node.target, node.args[1:]
    if op not in _MOVES or len(node.all_input_nodes) != 1 or not callable(target):
        return None
    kwargs = dict(node.kwargs)
    return lambda x: target(x, *rest, **kwargs)


def carried(move: Move, shape: tuple[int, ...], dim: int) -> tuple[tuple[int, ...], int] | None:
    """Return the shape after a move, and the dimension that one dimension has become, if one has.

    Args:
        move: what happens to the values.
        shape: before it.
        dim: the dimension.

    Example:
        >>> carried(lambda x: x.transpose(1, 2), (2, 5, 4), dim=2)
        ((2, 4, 5), 1)
        >>> carried(lambda x: x.flatten(0, 1), (2, 5, 4), dim=2)
        ((10, 4), 1)
        >>> carried(lambda x: x.flatten(1), (2, 5, 4), dim=2)
    """
    moved = move(_index(shape, dim).contiguous())
    for candidate, size in enumerate(moved.shape):
        if size == shape[dim] and torch.equal(moved, _index(moved.shape, candidate)):
            return tuple(moved.shape), candidate
    return None


def _index(shape: tuple[int, ...], dim: int) -> Tensor:
    """Return a tensor whose every value is its place in one dimension."""
    line = torch.arange(shape[dim])
    return line.reshape([-1 if d == dim else 1 for d in range(len(shape))]).expand(shape)
