"""Replay of a recorded call: the same function with the same options, on other tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


@dataclass(frozen=True)
class _Slot:
    """The place of a step's result among the arguments of a call."""

    step: int


@dataclass(frozen=True)
class Replay:
    """A call whose tensors are all results of other steps.

    Attributes:
        function: what was called.
        args: its arguments, with a slot in the place of each tensor.
        kwargs: its keyword arguments, likewise.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def steps(self) -> frozenset[int]:
        """The steps whose results it takes."""
        leaves = tree_leaves((self.args, self.kwargs))
        return frozenset(leaf.step for leaf in leaves if isinstance(leaf, _Slot))

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers among its arguments."""
        leaves = tree_leaves((self.args, self.kwargs))
        return tuple(x for x in leaves if isinstance(x, int | float) and not isinstance(x, bool))

    def __call__(self, results: Mapping[int, Tensor]) -> Any:
        """Return what it gives for other results, which are not changed.

        Args:
            results: by the index of the step that they stand for.
        """

        def filled(leaf: Any) -> Any:
            return results[leaf.step].clone() if isinstance(leaf, _Slot) else leaf

        args, kwargs = tree_map(filled, (self.args, self.kwargs))
        return self.function(*args, **kwargs)

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """Return an argument, which the call may have by place or by name."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(name, default)


def replay_of(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    makers: Mapping[int, int],
) -> Replay | None:
    """Return how a call can be repeated, if nothing but results of other steps goes into it.

    Args:
        function: what was called.
        args: its arguments.
        kwargs: its keyword arguments.
        makers: the step that made a tensor, by the tensor's identity.

    Example:
        >>> import torch
        >>> x = torch.zeros(2)
        >>> replay = replay_of(torch.add, (x, 1.0), {"alpha": 3}, {id(x): 7})
        >>> replay({7: torch.ones(2)})
        tensor([4., 4.])
    """
    if any(makers.get(id(tensor), -1) < 0 for tensor in tensors_in((args, kwargs))):
        return None

    def emptied(leaf: Any) -> Any:
        return _Slot(makers[id(leaf)]) if isinstance(leaf, Tensor) else leaf

    return Replay(function, *tree_map(emptied, (args, kwargs)))


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors among arguments."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
