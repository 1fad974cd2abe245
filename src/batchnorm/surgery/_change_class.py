"""Class change of a layer in place: torch's batch normalization to ours, and back.

The module stays the same object, as torch's own lazy layers do when they become ordinary ones. So
whatever holds it goes on working: hooks, a second name, an optimizer, the user's own lists.
"""

from copy import copy
from inspect import get_annotations

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from batchnorm._model._edit import Edit
from batchnorm._model._find import TO_TORCH

_HELD: dict[type[nn.Module], frozenset[str]] = {}  # what `held` has found out
_REGISTRIES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


def change_class(module: nn.Module, kind: type[nn.Module], changes: Edit) -> None:
    """Make `module` a `kind`, ours or torch's; add or take away what only ours hold.

    Args:
        module: a layer that holds what torch's batch normalization does.
        kind: the class.
        changes: undoes it.

    Example:
        >>> from batchnorm import nn as ours
        >>> layer = nn.BatchNorm1d(3)
        >>> change_class(layer, ours.BatchNorm1d, Edit(layer))
        >>> layer.activation = "relu"
        >>> bool(layer(torch.randn(8, 3)).min() == 0)
        True
    """
    remember(module, changes)
    for name in held(type(module)) & _names(module):
        delattr(module, name)
    blank = _blank(kind, tracked=module._buffers.get("num_batches_tracked") is not None)  # noqa: SLF001
    for name in _names(blank) & held(kind):
        if name in blank._buffers:  # noqa: SLF001 -- where torch keeps them
            value = getattr(blank, name).to(_device(module))
            persistent = name not in blank._non_persistent_buffers_set  # noqa: SLF001
            module.register_buffer(name, value, persistent=persistent)
        else:
            setattr(module, name, getattr(blank, name))
    module.__class__ = kind


def held(kind: type[nn.Module]) -> frozenset[str]:
    """Return the names of what a layer of ours holds beyond torch's; of another, nothing.

    Example:
        >>> from batchnorm import nn as ours
        >>> "activation" in held(ours.BatchNorm1d), held(nn.BatchNorm1d)
        (True, frozenset())
    """
    if kind not in _HELD:
        _HELD[kind] = _what_it_holds(kind) if kind in TO_TORCH else frozenset()
    return _HELD[kind]


def _what_it_holds(kind: type[nn.Module]) -> frozenset[str]:
    declared = {name for c in kind.__mro__ if _is_ours(c) for name in get_annotations(c)}
    return frozenset(declared | _names(_blank(kind)) - _names(_blank(TO_TORCH[kind])))


def remember(module: nn.Module, changes: Edit) -> None:
    """Have the module's class, all that it holds and what learns put back when undone."""
    kind, attributes = type(module), dict(vars(module))
    learning = {p: p.requires_grad for p in module.parameters(recurse=False)}
    registries = {name: copy(attributes[name]) for name in _REGISTRIES}

    def restore() -> None:
        module.__class__ = kind
        vars(module).clear()
        vars(module).update(attributes)
        for name, saved in registries.items():
            attributes[name].clear()
            attributes[name].update(saved)
        for parameter, required in learning.items():
            parameter.requires_grad_(required)

    changes.on_undo(restore)


def _blank(kind: type[nn.Module], *, tracked: bool = True) -> nn.Module:
    size = () if issubclass(kind, LazyModuleMixin) else (1,)
    return kind(*size, track_running_stats=tracked)


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("batchnorm.")


def _names(module: nn.Module) -> set[str]:
    return vars(module).keys() | module._buffers.keys()  # noqa: SLF001


def _device(module: nn.Module) -> torch.device | None:
    tensors = (*module._parameters.values(), *module._buffers.values())  # noqa: SLF001
    return next((tensor.device for tensor in tensors if tensor is not None), None)
