"""Entry points that a command names as ``package.module:name``: a model, its data."""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from batchnorm.errors import BatchNormError, DataError, OptionError, RunError


def model_of(name: str, option: str = "MODEL") -> nn.Module:
    """Return the model that a factory makes.

    Args:
        name: ``package.module:factory``; the factory takes no arguments. A module is taken as is.
        option: what the command line calls the name.

    Raises:
        OptionError: there is no such thing, or it is no model.
        RunError: the factory raised.
    """
    found = attribute(name, option)
    model = found if isinstance(found, nn.Module) else _called(found, name, option)
    if not isinstance(model, nn.Module):
        raise OptionError(
            f"{option} needs to name a torch.nn.Module or a function that returns one, got a "
            f"{type(model).__name__} from {name}: name the factory"
        )
    return model


def batches_of(name: str) -> Iterable[Any]:
    """Return the batches that a loader gives.

    Args:
        name: ``package.module:loader``, an iterable of batches or a function that returns one.

    Raises:
        OptionError: there is no such thing, or it is no iterable of batches.
        RunError: the function raised.
    """
    found = attribute(name, "--data")
    batches = found if isinstance(found, Iterable) else _called(found, name, "--data")
    if not isinstance(batches, Iterable) or isinstance(batches, torch.Tensor | Mapping):
        raise OptionError(
            f"--data needs to name an iterable of batches or a function that returns one, got a "
            f"{type(batches).__name__} from {name}: put a single batch into a list"
        )
    return batches


def example_of(data: str | None, shapes: list[str]) -> Any:
    """Return inputs to call the model with: those of the first batch, or random ones.

    Args:
        data: as in `batches_of`; of a tuple or list, the first item is the input.
        shapes: as in ``8,3,32,32``, one for each argument of the model.

    Raises:
        OptionError: neither or both are given, a shape is none, or there is no batch.
    """
    if (data is None) == (not shapes):
        raise OptionError(
            f"the model needs inputs to be tried on, got {'both' if shapes else 'none'}: "
            "give --data package.module:loader, or --input with a shape such as 8,3,32,32"
        )
    if data is None:
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randn(_shape(shape), generator=generator) for shape in shapes)
    batch = next(iter(batches_of(data)), None)
    if batch is None:
        raise DataError(f"--data needs at least one batch, got none from {data}: check the loader")
    return batch[0] if isinstance(batch, tuple | list) else batch


def pair_of(text: str) -> tuple[str, str]:
    """Return two neighbours, written as ``conv1,bn1``.

    Raises:
        OptionError: it is not two names.
    """
    first, comma, second = text.partition(",")
    if not comma or not first or not second or "," in second:
        raise OptionError(f"--pair needs two names as in conv1,bn1, got {text!r}: write them so")
    return first, second


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise OptionError(f"--input needs sizes such as 8,3,32,32, got {text!r}: write them so")
    return shape


def attribute(name: str, option: str) -> Any:
    """Return what a name refers to, importing its module where that was not done yet.

    Args:
        name: ``package.module:attribute``.
        option: what the command line calls the name.

    Raises:
        OptionError: there is no such thing.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise OptionError(f"{option} needs package.module:name, got {name!r}: write it so")
    try:
        with _from_here():
            found: Any = importlib.import_module(module)
    except BatchNormError:
        raise
    except Exception as error:
        raise OptionError(
            f"{option} needs a module that can be imported, {module} raised {_words(error)}: "
            "run the command where Python finds it"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise OptionError(
                f"{option} needs a name in {module}, got {attribute!r}, which it has not: "
                "check the spelling"
            )
        found = getattr(found, part)
    return found


def _called(function: Callable[[], Any], name: str, option: str) -> Any:
    if not callable(function):
        raise OptionError(
            f"{option} needs something that can be called, got a {type(function).__name__} from "
            f"{name}: name a function without arguments"
        )
    with blaming(name), _from_here():
        return function()


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Turn what a user's code raises into one line.

    Args:
        name: whose code runs in the block.

    Raises:
        RunError: it raised.
    """
    try:
        yield
    except BatchNormError:
        raise
    except Exception as error:
        raise RunError(f"{name} raised {_words(error)}: call it in Python to see where") from error


@contextmanager
def _from_here() -> Iterator[None]:
    """Find modules in the present folder, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__} ({text})" if text else type(error).__name__
