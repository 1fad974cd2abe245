"""Programs made of a model: what `torch.fx`, `torch.export` and `torch.jit` get of a layer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm import ops
from batchnorm.errors import OptionError
from batchnorm.functional._batch import Batch
from batchnorm.nn._tools._beyond import beyond_torch, way_out

_PROXY: Any = torch.fx.Proxy  # what `torch.fx` calls a forward with, in place of tensors
_SWITCHABLE: dict[str, Any] = {"debias": False, "correction": 1}
_PLAIN = {"1d": nn.BatchNorm1d, "2d": nn.BatchNorm2d, "3d": nn.BatchNorm3d}


def traced(module: nn.Module, x: Tensor) -> bool:
    """Say whether a tracer of `torch.fx` calls the module, inside a model."""
    return isinstance(x, _PROXY) and x.tracer.root is not module


def node(module: nn.Module, x: Any, *given: Any, **options: Any) -> Tensor:
    """Return the call as one node; options that are `None` are left out.

    Raises:
        OptionError: a quantization of `torch.ao` traces, which fuses torch's classes alone.
    """
    if type(x.tracer).__name__ == "QuantizationTracer":
        check_quantized(module)
    path = x.tracer.path_of_module(module)
    named = {name: value for name, value in options.items() if value is not None}
    made: Tensor = x.tracer.create_proxy("call_module", path, (x, *given), named)
    return made


def check_quantized(module: nn.Module) -> None:
    """Refuse a layer that quantization of graphs would leave unfused, where torch's fits.

    Raises:
        OptionError: a layer that `revert` makes one of torch's.
    """
    if getattr(module, "_like_torch", "never") != "never":
        raise OptionError(
            "torch.ao.quantization fuses torch's own classes in a graph and leaves others in "
            f"floating point, got {type(module).__module__}.{type(module).__name__}: call "
            "batchnorm.revert(model) or batchnorm.fold(model) first"
        )


def check_exported(layer: nn.Module) -> None:
    """Refuse to export in training a layer that is none of torch's operators there.

    Raises:
        OptionError: a program is being recorded.
    """
    if ops.recording_program():
        raise OptionError(
            "torch.export in training needs a layer that torch's operator can stand for, got "
            f"{type(layer).__name__}, which is none in training: export after eval()"
        )


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


def scriptable(layer: Any) -> nn.Module:
    """Return torch's layer with the parameters and buffers of one that evaluates as it does.

    Raises:
        OptionError: the layer does more than torch's, or is in training, where it differs.
    """
    found = beyond_torch(layer, training=True)
    if found or layer.training:
        what = ", ".join(found) or "train()"
        raise OptionError(
            "torch.jit.script takes a plain layer in evaluation without options of ours, got "
            f"{what}: export with torch.export.export or torch.jit.trace, or "
            f"{way_out(layer, 'call batchnorm.revert(model) first')}"
        )
    return twin_of(layer)


def plain_of(kind: type[nn.Module]) -> type[_BatchNorm]:
    """Return torch's class for as many dimensions as the name of one of ours says."""
    return _PLAIN[kind.__name__[-2:]]


def twin_of(layer: _BatchNorm) -> nn.Module:
    """Return torch's layer with the parameters, the buffers and the mode of a plain one of ours."""
    twin = plain_of(type(layer))(
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
