"""How a batch of any structure gets into a model."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import Module

from batchnorm._wrappers import unwrapped
from batchnorm.errors import DataError, OptionError

Forward = Callable[[Module, Any], Any]


def feeder(model: Module, forward: Forward | None) -> Callable[[Any], Any]:
    """Return what calls `model` on a batch and returns its output.

    Args:
        model: what is called, without its wrappers.
        forward: calls the model it is given on a batch; `None` passes on a tensor, the first item
            of a tuple or list, or a mapping as keyword arguments.
    """
    model = unwrapped(model)
    return partial(_call if forward is None else forward, model)


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


def _call(model: Module, batch: Any) -> Any:
    if isinstance(batch, (tuple, list)):
        if not batch:
            raise DataError(
                "a batch needs to be a tensor, a mapping, or a sequence that starts with one, got "
                f"an empty {type(batch).__name__}: say how to call the model with forward="
            )
        batch = batch[0]
    return model(**batch) if isinstance(batch, Mapping) else model(batch)
