"""Layers of other packages, recognized by what they hold and compute, not by import.

A class is recognized by its name and its state, and then proven: a twin of the module with values
that make every term count has to give what our layer gives.
"""

from collections import OrderedDict
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from batchnorm import nn as ours
from batchnorm._model._edit import Edit
from batchnorm._model._find import activation_of, has_hooks
from batchnorm.nn import Layer
from batchnorm.surgery._change_class import change_class, remember
from batchnorm.surgery._convert._origin import USUAL_EPS, Origin

_STATE = ("weight", "bias", "running_mean", "running_var")
_PARTS = ("drop", "act")
_REGISTRIES = ("_parameters", "_buffers", "_modules")


@dataclass(frozen=True)
class Foreign:
    """What a layer of ours needs to be to replace a layer of another package.

    Attributes:
        options: attributes of our layer.
        frozen: the layer never uses the statistics of a batch, nor learns.
    """

    options: dict[str, Any] = field(default_factory=dict)
    frozen: bool = False

    def take_over(self, module: nn.Module, changes: Edit) -> None:
        """Make `module` a `BatchNorm2d` of ours, in place, which remembers what it was."""
        remember(module, changes)
        origin = Origin.of(module, frozen=self.frozen)
        for name in _PARTS:
            module._modules.pop(name, None)  # noqa: SLF001 -- where torch keeps them
        if self.frozen:
            _unbuffer(module)
        change_class(module, ours.BatchNorm2d, changes)
        for name, value in self.options.items():
            setattr(module, name, value)
        assert isinstance(module, Layer)  # noqa: S101 -- it has become one
        module._origin = origin  # noqa: SLF001 -- the layers' other half
        if self.frozen:
            module.freeze(affine=True)


def looks_foreign(module: nn.Module) -> bool:
    """Return whether a module has the name and the state of a layer that is known here.

    Known are timm's `BatchNormAct2d` and `FrozenBatchNormAct2d`, and the `FrozenBatchNorm2d` of
    torchvision, detectron2 and, under longer names, transformers.
    """
    if isinstance(module, torch.jit.ScriptModule) or not module._modules.keys() <= set(_PARTS):  # noqa: SLF001
        return False
    name = type(module).__name__
    if name == "BatchNormAct2d":
        return isinstance(module, nn.BatchNorm2d) and "act" in module._modules  # noqa: SLF001
    frozen = name.endswith(("FrozenBatchNorm2d", "FrozenBatchNormAct2d"))
    own = set(module._buffers), set(module._parameters)  # noqa: SLF001
    return frozen and own == (set(_STATE), set())


Proven = dict[object, bool]  # whether layers that differ in their values only are what they seem


def foreign(module: nn.Module, proven: Proven) -> Foreign | str:
    """Return what our layer has to be to replace `module`, or why it cannot.

    Args:
        module: one that `looks_foreign`.
        proven: what was proven of other layers; added to.
    """
    parts = module._modules  # noqa: SLF001 -- where torch keeps them
    drop, act = (parts.get(name) or nn.Identity() for name in _PARTS)
    if has_hooks(drop) or has_hooks(act):
        return "one of its parts has hooks"
    if type(drop) is not nn.Identity:
        return f"it drops values ({type(drop).__name__}) between normalization and activation"
    options = {} if type(act) is nn.Identity else activation_of(act)
    if options is None:
        return f"its activation {type(act).__name__} is none that our layers have"
    frozen = not isinstance(module, nn.BatchNorm2d)
    if frozen:
        options["eps"] = getattr(module, "eps", USUAL_EPS)
    known = Foreign(options, frozen)
    key = _all_but_values(module)
    if key not in proven:
        proven[key] = _proven(module, known)
    return known if proven[key] else "it computes something else than its name says"


def _all_but_values(module: nn.Module) -> object:
    """Return what layers have in common that compute the same, whatever their values and size."""
    attributes = vars(module)
    plain = {
        name: repr(value)
        for name, value in attributes.items()
        if name not in (*_REGISTRIES, "num_features", "training") and not name.endswith("_hooks")
    }
    tensors = {
        name: None if value is None else str(value.dtype)
        for registry in _REGISTRIES[:2]
        for name, value in attributes[registry].items()
    }
    parts = {name: (type(part), repr(part)) for name, part in attributes["_modules"].items()}
    return type(module), *(tuple(sorted(each.items())) for each in (plain, tensors, parts))


def _unbuffer(module: nn.Module) -> None:
    """Give a layer that is nothing but buffers what torch's batch normalization holds."""
    mean = module.get_buffer("running_mean")
    for name in ("weight", "bias"):
        values = module.get_buffer(name)
        delattr(module, name)
        module.register_parameter(name, nn.Parameter(values))
    module.register_buffer("num_batches_tracked", torch.tensor(0, device=mean.device))
    usual = nn.BatchNorm2d(mean.numel(), device="meta")
    for name in ("num_features", "momentum", "affine", "track_running_stats"):
        setattr(module, name, getattr(usual, name))


def _proven(module: nn.Module, known: Foreign) -> bool:
    """Compare with our layer in float64, where the variances are as small as eps."""
    shape = (2, _channels(module), 3, 3)
    generator = torch.Generator().manual_seed(0)
    theirs, mine = _twin(module, generator), _twin(module, generator.manual_seed(0))
    known.take_over(mine, Edit(mine))
    for training in (True, False):
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        mine.training = theirs.training = training  # train() would reach the parts they share
        y, expected = mine(x), theirs(x.clone())
        if not torch.allclose(y, expected, rtol=1e-9, atol=1e-9):
            return False
    return all(
        torch.allclose(buffer, theirs.get_buffer(name))
        for name, buffer in mine.named_buffers()
        if name in _STATE
    )


def _twin(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a module of the same class and attributes, with values of its own and no hooks."""
    twin = object.__new__(type(module))
    for name, value in vars(module).items():
        vars(twin)[name] = OrderedDict() if name.endswith("_hooks") else value
    for name in ("_modules", "_non_persistent_buffers_set"):
        vars(twin)[name] = copy(vars(module)[name])
    for registry in ("_parameters", "_buffers"):
        held = vars(module)[registry]
        vars(twin)[registry] = {
            name: _probe(name, value, generator) for name, value in held.items()
        }
    return twin


def _probe(name: str, value: Tensor | None, generator: torch.Generator) -> Tensor | None:
    if value is None or not value.is_floating_point():
        return None if value is None else torch.zeros(value.shape, dtype=value.dtype)
    values = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    if name == "running_var":
        values = values.square() * USUAL_EPS
    return nn.Parameter(values) if isinstance(value, nn.Parameter) else values


def _channels(module: nn.Module) -> int:
    mean = module._buffers["running_mean"]  # noqa: SLF001 -- may be None
    return int(getattr(module, "num_features", 0) if mean is None else mean.numel())
