"""Reversion of our layers to torch's, in place."""

from typing import Any, NamedTuple

import torch
from torch import fx, nn

from batchnorm._model._edit import Edit, edit
from batchnorm._model._find import TO_TORCH, activation_module, has_hooks, names_of
from batchnorm.errors import SurgeryError
from batchnorm.nn import Layer
from batchnorm.nn._domain import DomainLayer
from batchnorm.nn._modes import check_model
from batchnorm.surgery._change_class import change_class, remember
from batchnorm.surgery._convert._origin import Origin, origin_of
from batchnorm.surgery._fuse import Fused, taking_residuals, unfuse_graph
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

    A layer that `convert` found as one of another package, such as timm's `BatchNormAct2d`, becomes
    that again.

    Args:
        model: any module, also a layer itself. Every layer stays the same object and only changes
            its class, so that parameters, buffers and hooks are untouched. An activation that
            `convert` fused is put back where it was. That of a layer made with ``activation=``
            becomes a module: where ``bn`` was, there is then a `torch.nn.Sequential` of torch's
            layer and the activation, so that ``bn.weight`` becomes ``bn.0.weight``. In a
            `torch.fx.GraphModule` any activation and any residual become calls behind the layer.

    Returns:
        What became of every layer of ours, and which names have changed.

    Raises:
        SurgeryError: a layer does something that torch's cannot: an option of ours, a subclass, an
            activation that has no place to go to. Nothing has changed then.

    Note:
        A model that was converted and reverted gives bit for bit what it gave at first. A call of
        a layer with ``residual=``, ``mask=`` or ``sample_weight=``, which is seen only when it is
        made, raises a `TypeError` afterwards: torch's layers do not take that. Add the residual
        between layer and activation, or revert a `torch.fx.GraphModule` of the model.

    Example:
        >>> import batchnorm
        >>> model = nn.Sequential(nn.Linear(3, 4), batchnorm.nn.BatchNorm1d(4), nn.ReLU())
        >>> print(revert(model))
        revert: 1 done, 0 left alone
        module  what      detail
        1       reverted  to torch.nn.BatchNorm1d
        >>> model = nn.Sequential(batchnorm.nn.BatchNorm1d(4, activation="relu"))
        >>> revert(model).changes[0].detail
        'to torch.nn.BatchNorm1d, with relu behind it; its state_dict keys move from 0.* to 0.0.*'
    """
    check_model(model)
    layers = [module for module in model.modules() if isinstance(module, Layer)]
    places = {m.layer[0]: m for m in model.modules() if isinstance(m, Fused)}
    names = names_of(model)
    traced = isinstance(model, fx.GraphModule)
    within = {layer for m in model.modules() if isinstance(m, DomainLayer) for layer in m.domains}
    with_residual = taking_residuals(model) if isinstance(model, fx.GraphModule) else ()
    ways = {m: _Way(places.get(m), origin_of(m, with_residual), traced, m is model) for m in layers}
    reasons = {names[m]: _obstacle(m, way, m in within) for m, way in ways.items()}
    _refuse({name: reason for name, reason in reasons.items() if reason})
    with edit(model) as changes:
        if isinstance(model, fx.GraphModule):
            inside = [m for m, way in ways.items() if way.origin and way.origin.activated]
            unfuse_graph(model, {*places, *inside}, changes)
        rows = tuple(_give_back(names[m], m, way, changes) for m, way in ways.items())
    return Record("revert", rows, note="" if rows else "the model has no layers of batchnorm.nn")


class _Way(NamedTuple):
    """What a layer can be given back to.

    Attributes:
        place: where its activation was, if `convert` has fused it.
        origin: what it was, if that was of another package and can do what the layer does.
        traced: whether a graph can be given its activation.
        alone: whether it is the model itself.
    """

    place: Fused | None
    origin: Origin | None
    traced: bool
    alone: bool

    def needs_module(self, layer: Layer) -> bool:
        """Return whether the activation has nowhere to go but into a new module."""
        inside = self.origin is not None and self.origin.activated
        nowhere = self.place is None and not inside and not self.traced
        return nowhere and layer.activation is not None


def _obstacle(layer: Layer, way: _Way, within: bool) -> str:
    """Return why a layer cannot become torch's, or nothing."""
    if type(layer) not in TO_TORCH:
        return f"{type(layer).__name__} is a class of its own"
    if way.place is not None and has_hooks(way.place):
        return "there are hooks where its activation was"
    if way.needs_module(layer) and (reason := _why_no_module(layer, way, within)):
        return f"its {layer.activation} has no place: {reason}"
    if layer._accumulated is not None:  # noqa: SLF001 -- there is no public word for it
        return "it is accumulating statistics"
    may_be_frozen = way.origin is not None and way.origin.frozen
    lost = {
        name: getattr(layer, name)
        for name, alike in _ALIKE.items()
        if getattr(layer, name) not in alike and not (name == "frozen" and may_be_frozen)
    }
    return " and ".join(f"torch has no {name}={value!r}" for name, value in lost.items())


def _why_no_module(layer: Layer, way: _Way, within: bool) -> str:
    """Return why no activation module can be put behind a layer, or nothing."""
    if way.alone:
        return "it is the model itself, wrap it in torch.nn.Sequential first"
    if has_hooks(layer):
        return "it has hooks, which expect its output behind the activation"
    return "it normalizes one of several domains" if within else ""


def _refuse(reasons: dict[str, str]) -> None:
    if reasons:
        listing = "; ".join(f"{name or 'the model'}: {why}" for name, why in reasons.items())
        raise SurgeryError(
            f"layers that torch's can stand for are needed, got also others ({listing}): "
            "set the option back or unfreeze the layer, and give an activation a module of its "
            "own, or revert a torch.fx.GraphModule"
        )


def _give_back(name: str, layer: Layer, way: _Way, changes: Edit) -> Change:
    kind = TO_TORCH[type(layer)]
    detail = f"to {_qualified(way.origin.kind if way.origin else kind)}"
    inside = way.place is None and way.origin is not None and way.origin.activated
    if layer.activation is not None and not inside:
        detail += f", with {layer.activation} behind it"
    if way.place is not None:
        changes.replace(way.place, way.place.give_back())
    if way.needs_module(layer):
        pair = nn.Sequential(layer, activation_module(layer).train(layer.training))
        pair.training = layer.training
        moved = [f"{one}.* to {one}.0.*" for one in changes.replace(layer, pair)]
        detail += f"; its state_dict keys move from {', '.join(moved)}"
    if way.origin is not None:
        remember(layer, changes)
        way.origin.give_back(layer, changes, elsewhere=way.place is not None)
    else:
        _match_statistics(layer, changes)
        change_class(layer, kind, changes)
    return Change(name, "reverted", detail)


def _qualified(kind: type[nn.Module]) -> str:
    home = kind.__module__.replace("torch.nn.modules.batchnorm", "torch.nn")
    return f"{home}.{kind.__qualname__}"


def _match_statistics(layer: Layer, changes: Edit) -> None:
    """Give the running statistics of a layer of 16 bits the same, as torch demands."""
    if layer.weight is not None and layer.weight.dtype in (torch.float16, torch.bfloat16):
        for name in ("running_mean", "running_var"):
            if getattr(layer, name) is not None:
                changes.set_buffer(layer, name, layer.get_buffer(name).to(layer.weight.dtype))
