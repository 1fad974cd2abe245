"""What a model is called with, and what it returns, in whatever containers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from batchnorm.errors import OptionError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def arguments(example_inputs: Any) -> Arguments:
    """Return the positional and the keyword arguments that example inputs stand for.

    Args:
        example_inputs: a tensor; a tuple or list of arguments; or a mapping of keyword arguments.

    Raises:
        OptionError: anything else.

    Example:
        >>> import torch
        >>> arguments({"pixel_values": torch.zeros(2)})
        ((), {'pixel_values': tensor([0., 0.])})
    """
    if isinstance(example_inputs, Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, tuple | list):
        return tuple(example_inputs), {}
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    raise OptionError(
        "example_inputs needs to be a tensor, a tuple of arguments or a dict of keyword arguments, "
        f"got {type(example_inputs).__name__}: give what the model's forward takes"
    )


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in an output, in a fixed order, whatever holds them.

    Example:
        >>> import torch
        >>> len(list(tensors({"logits": torch.zeros(2), "hidden": (torch.zeros(1), None)})))
        2
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors(getattr(value, field.name))


def mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return containers with `function` applied to their tensors; anything else stays as it is.

    Example:
        >>> import torch
        >>> mapped(((torch.zeros(1),), {"flag": True}), lambda tensor: tensor + 1)
        ((tensor([1.]),), {'flag': True})
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: mapped(item, function) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(mapped(item, function) for item in value)
    return value
