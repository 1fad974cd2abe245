"""Programs made of a model: what `torch.fx`, `torch.export` and `torch.jit` get of a layer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm.errors import OptionError
from batchnorm.functional._batch import Batch

_PROXY: Any = torch.fx.Proxy  # what `torch.fx` calls a forward with, in place of tensors
_SWITCHABLE: dict[str, Any] = {"debias": False, "correction": 1}
_SCRIPTABLE = {"activation": None, "debias": False, "frozen": False, "adapting": False}
_PLAIN = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def traced(module: nn.Module, x: Tensor) -> bool:
    """Say whether a tracer of `torch.fx` calls the module, inside a model."""
    return isinstance(x, _PROXY) and x.tracer.root is not module


def node(module: nn.Module, x: Any, *given: Any, **options: Any) -> Tensor:
    """Return the call as one node; options that are `None` are left out."""
    path = x.tracer.path_of_module(module)
    named = {name: value for name, value in options.items() if value is not None}
    made: Tensor = x.tracer.create_proxy("call_module", path, (x, *given), named)
    return made


def check_switchable(layer: Any, batch: Batch) -> None:
    """Refuse to export in training what torch's operator cannot say.

    A program that holds plain operations instead would normalize with the batch for ever: tools for
    quantization and for training on devices switch a program to evaluation by finding torch's
    operator (`move_exported_model_to_eval`).

    Raises:
        OptionError: the layer does in training what torch's does not.
    """
    found = [
        f"{name}={getattr(layer, name)!r}"
        for name, usual in _SWITCHABLE.items()
        if getattr(layer, name, usual) != usual
    ]
    if layer.momentum is None:
        found.append("momentum=None")
    if layer.nonfinite == "raise":
        found.append("nonfinite='raise'")
    if batch.mask is not None or batch.sample_weight is not None:
        found.append("a mask or sample_weight")
    if found:
        raise OptionError(
            "torch.export in training needs a layer that torch's operator can stand for, so that "
            f"the program can be switched to evaluation, got {', '.join(found)}: "
            "export after eval(), or leave that out while you export"
        )


def scriptable(layer: _BatchNorm) -> nn.Module:
    """Return torch's layer with the parameters and buffers of one that evaluates as it does.

    Raises:
        OptionError: the layer does more than torch's, or is in training, where it differs.
    """
    spatial = type(layer).__name__[-2:-1]
    plain = f"batchnorm.nn.BatchNorm{spatial}d"
    others = [
        f"{name}={getattr(layer, name)!r}"
        for name, usual in _SCRIPTABLE.items()
        if getattr(layer, name, usual) != usual
    ]
    if type(layer).__name__ != f"BatchNorm{spatial}d" or others or layer.training:
        what = ", ".join(others) or ("train()" if layer.training else type(layer).__name__)
        raise OptionError(
            f"torch.jit.script takes {plain} in evaluation without options of ours, got {what}: "
            "export with torch.export.export or torch.jit.trace, or call batchnorm.revert first"
        )
    twin = _PLAIN[int(spatial)](
        layer.num_features,
        layer.eps,
        layer.momentum,
        affine=False,
        track_running_stats=False,
        device=torch.device("meta"),
    )
    for name in ("affine", "track_running_stats", "training"):
        setattr(twin, name, getattr(layer, name))
    for name in ("weight", "bias"):
        twin.register_parameter(name, layer._parameters[name])  # noqa: SLF001 -- the layer's other half
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        twin.register_buffer(name, layer._buffers[name])  # noqa: SLF001
    return twin
