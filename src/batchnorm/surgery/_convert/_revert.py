"""Reversion of our layers to torch's, in place."""

from typing import Any

import torch
from torch import fx, nn

from batchnorm._model._edit import Edit, edit
from batchnorm._model._find import TO_TORCH, has_hooks, names_of
from batchnorm.errors import SurgeryError
from batchnorm.nn import Layer
from batchnorm.surgery._change_class import change_class
from batchnorm.surgery._fuse import Fused, unfuse_graph
from batchnorm.surgery._record import Change, Record

# The options of our layers, and the values with which torch's layers do the same.
_ALIKE: dict[str, tuple[Any, ...]] = {
    "nonfinite": ("skip", "propagate"),
    "debias": (False,),
    "correction": (1,),
    "frozen": (False,),
    "adapting": (False,),
}


def revert(model: nn.Module) -> Record:
    """Turn every layer of ours into torch's, in place: the inverse of `convert`.

    Args:
        model: any module, also a layer itself. Every layer stays the same object and only changes
            its class, so that parameters, buffers and hooks are untouched. An activation that
            `convert` fused is put back where it was. In a `torch.fx.GraphModule` any activation
            and any residual become calls behind the layer.

    Returns:
        What became of every layer of ours.

    Raises:
        SurgeryError: a layer does something that torch's cannot: an activation that has no place
            of its own, an option of ours, a subclass. Nothing has changed then.

    Note:
        A model that was converted and reverted gives bit for bit what it gave at first.

    Example:
        >>> import batchnorm
        >>> model = nn.Sequential(nn.Linear(3, 4), batchnorm.nn.BatchNorm1d(4), nn.ReLU())
        >>> print(revert(model))
        revert: 1 done, 0 left alone
        module  what      detail
        1       reverted  to torch.nn.BatchNorm1d
    """
    layers = [module for module in model.modules() if isinstance(module, Layer)]
    places = {m.layer[0]: m for m in model.modules() if isinstance(m, Fused)}
    names = names_of(model)
    traced = isinstance(model, fx.GraphModule)
    reasons = {names[m]: _obstacle(m, places.get(m), traced=traced) for m in layers}
    _refuse({name: reason for name, reason in reasons.items() if reason})
    with edit(model) as changes:
        if isinstance(model, fx.GraphModule):
            unfuse_graph(model, places, changes)
        rows = tuple(_give_back(names[m], m, places.get(m), changes) for m in layers)
    return Record("revert", rows, note="" if rows else "the model has no layers of batchnorm.nn")


def _obstacle(layer: Layer, place: Fused | None, *, traced: bool) -> str:
    """Return why a layer cannot become torch's, or nothing."""
    if type(layer) not in TO_TORCH:
        return f"{type(layer).__name__} is a class of its own"
    if place is not None and has_hooks(place):
        return "there are hooks where its activation was"
    if layer.activation is not None and place is None and not traced:
        return f"its {layer.activation} has no module of its own to go to"
    if layer._accumulated is not None:  # noqa: SLF001 -- there is no public word for it
        return "it is accumulating statistics"
    lost = {
        name: getattr(layer, name)
        for name, alike in _ALIKE.items()
        if getattr(layer, name) not in alike
    }
    return " and ".join(f"torch has no {name}={value!r}" for name, value in lost.items())


def _refuse(reasons: dict[str, str]) -> None:
    if reasons:
        listing = "; ".join(f"{name or 'the model'}: {why}" for name, why in reasons.items())
        raise SurgeryError(
            f"layers that torch's can stand for are needed, got also others ({listing}): "
            "set the option back or unfreeze the layer, and give an activation a module of its "
            "own, or revert a torch.fx.GraphModule"
        )


def _give_back(name: str, layer: Layer, place: Fused | None, changes: Edit) -> Change:
    detail = f"to torch.nn.{TO_TORCH[type(layer)].__name__}"
    if layer.activation is not None:
        detail += f", with {layer.activation} behind it"
    if place is not None:
        changes.replace(place, place.give_back())
    _match_statistics(layer, changes)
    change_class(layer, TO_TORCH[type(layer)], changes)
    return Change(name, "reverted", detail)


def _match_statistics(layer: Layer, changes: Edit) -> None:
    """Give the running statistics of a layer of 16 bits the same, as torch demands."""
    if layer.weight is not None and layer.weight.dtype in (torch.float16, torch.bfloat16):
        for name in ("running_mean", "running_var"):
            if getattr(layer, name) is not None:
                changes.set_buffer(layer, name, layer.get_buffer(name).to(layer.weight.dtype))
