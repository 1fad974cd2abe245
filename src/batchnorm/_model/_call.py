"""Calls of a model: its arguments, its outputs in any containers, and batches of any structure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from batchnorm._model._find import unwrapped
from batchnorm.errors import DataError, OptionError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Forward = Callable[[Module, Any], Any]


def arguments(example_inputs: Any) -> Arguments:
    """Return the positional and the keyword arguments that example inputs are.

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


def check_call(model: Module, example_inputs: Any) -> None:
    """Refuse example inputs that are not the arguments of a model's forward.

    Args:
        model: what would be called.
        example_inputs: as for `arguments`.

    Raises:
        OptionError: they are too many or too few, have other names, or are of an unknown kind.
    """
    args, kwargs = arguments(example_inputs)
    try:
        expected = signature(model.forward)
    except (TypeError, ValueError):  # nobody knows, as of what is scripted
        return
    try:
        expected.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(map(str, expected.parameters.values()))
        given = [f"{len(args)} by place"] * bool(args) + [f"{name}=" for name in kwargs]
        raise OptionError(
            f"example_inputs needs to be the arguments of the model's forward, ({takes}), got "
            f"{', '.join(given) or 'none'} ({error}): give what goes into the model, without "
            "labels; a tuple is taken apart, so that a tuple as one argument is ((a, b),)"
        ) from error


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


def changed(example_inputs: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return example inputs with `function` applied to their tensors.

    Args:
        example_inputs: as for `arguments`; a named tuple becomes a tuple.
        function: returns what takes the place of a tensor.

    Example:
        >>> import torch
        >>> changed((torch.zeros(1), 3), torch.cos)
        (tensor([1.]), 3)
    """
    args, kwargs = arguments(example_inputs)
    return mapped(kwargs if isinstance(example_inputs, Mapping) else args, function)


def run(model: Module, example_inputs: Any) -> tuple[Tensor, ...]:
    """Call a model, each time with the same random numbers, and return its tensors."""
    args, kwargs = mapped(arguments(example_inputs), _own)
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call] # torch has no types here
    devices = range(torch.cuda.device_count()) if started else ()
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        return tuple(tensors(model(*args, **kwargs)))


def feeder(model: Module, forward: Forward | None) -> Callable[[Any], Any]:
    """Return what calls `model` on a batch and returns its output.

    Args:
        model: what is called, without its wrappers.
        forward: calls the model it is given on a batch; `None` passes on a tensor, the first item
            of a tuple or list, or a mapping as keyword arguments.
    """
    model = unwrapped(model)
    return partial(_forward if forward is None else forward, model)


def check_batches(batches: Iterable[Any], *, again: bool) -> None:
    """Refuse what is no iterable of batches.

    Args:
        batches: the data.
        again: whether they are needed more than once.

    Raises:
        OptionError: it is one batch, or can be used only once though needed `again`.
    """
    if isinstance(batches, (Tensor, Mapping)) or not isinstance(batches, Iterable):
        raise OptionError(
            f"batches must be an iterable of batches, got a {type(batches).__name__}: "
            "put a single batch into a list"
        )
    if again and isinstance(batches, Iterator):
        raise OptionError(
            "layer_by_layer needs batches that can be used again, for one pass per layer, got a "
            f"{type(batches).__name__}, which ends after one: give a list or a DataLoader"
        )


def _forward(model: Module, batch: Any) -> Any:
    if isinstance(batch, (tuple, list)):
        if not batch:
            raise DataError(
                "a batch needs to be a tensor, a mapping, or a sequence that starts with one, got "
                f"an empty {type(batch).__name__}: say how to call the model with forward="
            )
        batch = batch[0]
    return model(**batch) if isinstance(batch, Mapping) else model(batch)


def _own(x: Tensor) -> Tensor:
    return x.detach().clone()  # a forward may change its input
