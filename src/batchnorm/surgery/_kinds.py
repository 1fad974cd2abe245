"""Which modules are batch normalization, and which activations our layers have."""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from batchnorm import nn as ours
from batchnorm.errors import SurgeryError
from batchnorm.nn._layer import Layer

TO_OURS: dict[type[nn.Module], type[Layer]] = {
    nn.BatchNorm1d: ours.BatchNorm1d,
    nn.BatchNorm2d: ours.BatchNorm2d,
    nn.BatchNorm3d: ours.BatchNorm3d,
    nn.LazyBatchNorm1d: ours.LazyBatchNorm1d,
    nn.LazyBatchNorm2d: ours.LazyBatchNorm2d,
    nn.LazyBatchNorm3d: ours.LazyBatchNorm3d,
}
ACTIVATIONS = ("relu", "leaky_relu", "silu")  # those that our layers have
TO_TORCH: dict[type[nn.Module], type[nn.Module]] = {mine: its for its, mine in TO_OURS.items()}


def normalizes_batches(module: nn.Module) -> bool:
    """Say whether a module is batch normalization of any make, or keeps statistics like one.

    Example:
        >>> [normalizes_batches(m) for m in (nn.SyncBatchNorm(3), nn.GroupNorm(1, 3))]
        [True, False]
    """
    if isinstance(module, _InstanceNorm):
        return False
    own = {name for name, _ in module._buffers.items()}  # noqa: SLF001 -- a scripted one has no keys
    return isinstance(module, _BatchNorm) or {"running_mean", "running_var"} <= own


def activation_of(module: nn.Module) -> dict[str, Any] | None:
    """Return the options of our layer that do what an activation module does, if there are any.

    Example:
        >>> activation_of(nn.LeakyReLU(0.2))
        {'activation': 'leaky_relu', 'negative_slope': 0.2}
        >>> activation_of(nn.Tanh())
    """
    kind = type(module)
    if kind is nn.ReLU:
        return {"activation": "relu"}
    if kind is nn.SiLU:
        return {"activation": "silu"}
    if isinstance(module, nn.LeakyReLU) and kind is nn.LeakyReLU and module.negative_slope > 0:
        return {"activation": "leaky_relu", "negative_slope": module.negative_slope}
    return None


def activation_module(layer: Layer) -> nn.Module:
    """Return torch's module that does what our layer does after normalizing."""
    match layer.activation:
        case "relu":
            return nn.ReLU()
        case "silu":
            return nn.SiLU()
        case "leaky_relu":
            return nn.LeakyReLU(layer.negative_slope)
    return nn.Identity()


def has_hooks(module: nn.Module) -> bool:
    """Say whether anything watches or changes the module's inputs, outputs or gradients."""
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


def check_initialized(model: nn.Module) -> None:
    """Refuse a model with lazy modules that have seen no input.

    Raises:
        SurgeryError: there is one.
    """
    for name, module in model.named_modules():
        tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if any(is_lazy(tensor) for tensor in tensors):
            raise SurgeryError(
                f"an initialized model is needed, got the lazy {type(module).__name__} {name!r}: "
                "pass one batch through the model first"
            )
