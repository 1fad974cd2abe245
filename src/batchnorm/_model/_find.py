"""Modules of a model: names, hooks, wrappers, lazy ones, batch normalization, activations."""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from batchnorm import nn as ours
from batchnorm.errors import BatchNormError
from batchnorm.nn import Layer

TO_OURS: dict[type[nn.Module], type[Layer]] = {
    nn.BatchNorm1d: ours.BatchNorm1d,
    nn.BatchNorm2d: ours.BatchNorm2d,
    nn.BatchNorm3d: ours.BatchNorm3d,
    nn.LazyBatchNorm1d: ours.LazyBatchNorm1d,
    nn.LazyBatchNorm2d: ours.LazyBatchNorm2d,
    nn.LazyBatchNorm3d: ours.LazyBatchNorm3d,
}
TO_TORCH: dict[type[nn.Module], type[nn.Module]] = {mine: its for its, mine in TO_OURS.items()}
_OF_TORCH: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardswish: "hardswish",
    nn.Sigmoid: "sigmoid",
    nn.Hardsigmoid: "hardsigmoid",
    nn.Tanh: "tanh",
}
_MODULES: dict[str, type[nn.Module]] = {name: kind for kind, name in _OF_TORCH.items()}
_OF_TIMM = {
    "Swish": "silu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "HardSwish": "hardswish",
    "HardSigmoid": "hardsigmoid",
    "GELU": "gelu",
    "GELUTanh": "gelu_tanh",
}
_WRAPPERS = (AveragedModel, nn.DataParallel, DistributedDataParallel)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers for averaging, data parallelism and compilation.

    They have a mode of their own, and those for data parallelism work on copies of the layers or
    overwrite buffers between processes.

    Example:
        >>> model = nn.Module()
        >>> unwrapped(AveragedModel(nn.DataParallel(model))).training
        True
    """
    inner = model.module if isinstance(model, _WRAPPERS) else getattr(model, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether a module is batch normalization of any make, or keeps statistics like one.

    Example:
        >>> [is_batch_norm(m) for m in (nn.SyncBatchNorm(3), nn.GroupNorm(1, 3))]
        [True, False]
    """
    if isinstance(module, _InstanceNorm):
        return False
    own = {name for name, _ in module._buffers.items()}  # noqa: SLF001 -- a scripted one has no keys
    return isinstance(module, _BatchNorm) or {"running_mean", "running_var"} <= own


def has_hooks(module: nn.Module) -> bool:
    """Return whether anything watches or changes the module's inputs, outputs or gradients."""
    return any(
        getattr(module, registry)
        for registry in (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_backward_pre_hooks",
        )
    )


def names_of(model: nn.Module) -> dict[nn.Module, str]:
    """Return every module with its names: a shared one has several, joined by commas.

    Example:
        >>> shared = nn.ReLU()
        >>> list(names_of(nn.Sequential(shared, shared)).values())
        ['', '0, 1']
    """
    found: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        found.setdefault(module, []).append(name)
    return {module: ", ".join(names) for module, names in found.items()}


def check_initialized(model: nn.Module, error: type[BatchNormError]) -> None:
    """Refuse a model with lazy modules that have received no input.

    Args:
        model: any model.
        error: what to raise where there is one.
    """
    for name, module in model.named_modules():
        tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if any(is_lazy(tensor) for tensor in tensors):
            raise error(
                f"an initialized model is needed, got the lazy {type(module).__name__} {name!r}: "
                "pass one batch through the model first"
            )


def activation_of(module: nn.Module) -> dict[str, Any] | None:
    """Return the options of our layer that do what an activation module does, if there are any.

    Example:
        >>> activation_of(nn.LeakyReLU(0.2))
        {'activation': 'leaky_relu', 'negative_slope': 0.2}
        >>> activation_of(nn.Mish())
    """
    kind = type(module)
    name = _OF_TORCH.get(kind)
    if name is None and kind.__module__.startswith("timm.layers.activations"):
        name = _OF_TIMM.get(kind.__name__.removesuffix("Me"))  # "memory-efficient", the same values
    if isinstance(module, nn.GELU) and kind is nn.GELU:
        name = "gelu" if module.approximate == "none" else "gelu_tanh"
    if isinstance(module, nn.ELU) and kind is nn.ELU and module.alpha == 1.0:
        name = "elu"
    if isinstance(module, nn.LeakyReLU) and kind is nn.LeakyReLU and module.negative_slope > 0:
        return {"activation": "leaky_relu", "negative_slope": module.negative_slope}
    return {"activation": name} if name else None


def activation_module(layer: Layer) -> nn.Module:
    """Return torch's module that does what our layer does after normalizing."""
    match layer.activation:
        case None:
            return nn.Identity()
        case "leaky_relu":
            return nn.LeakyReLU(layer.negative_slope)
        case "elu":
            return nn.ELU()
        case "gelu" | "gelu_tanh":
            return nn.GELU("none" if layer.activation == "gelu" else "tanh")
    return _MODULES[layer.activation]()
