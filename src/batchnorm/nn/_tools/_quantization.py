"""Quantization by `torch.ao`: our layers fused with what they stand beside, or quantized alone."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from batchnorm.errors import OptionError
from batchnorm.nn._tools._beyond import beyond_torch, way_out
from batchnorm.nn._tools._programs import plain_of, twin_of

_REVERT = "call batchnorm.revert(model) first, which makes an activation a module of its own"
_Fuser = Callable[..., nn.Module]


def register_with_quantization(*kinds: type[nn.Module]) -> None:
    """Have `torch.ao` fuse and quantize classes of ours as it does torch's for 1d, 2d and 3d.

    Torch looks modules up by their exact classes. Where the tables are not found, as in a torch
    without `torch.ao.quantization`, there is nothing to do.
    """
    fusers: dict[Any, _Fuser] = _table("fuser_method_mappings", "_DEFAULT_OP_LIST_TO_FUSER_METHOD")
    quantized: dict[Any, Any] = _table(
        "quantization_mappings", "DEFAULT_STATIC_QUANT_MODULE_MAPPINGS"
    )
    for ours, torchs in ((kind, plain_of(kind)) for kind in kinds):
        for sequence, fuse in list(fusers.items()):
            if torchs in sequence:
                same = tuple(ours if kind is torchs else kind for kind in sequence)
                fusers[same] = _with_twins(fuse, ours)
        if torchs in quantized:
            quantized[ours] = _Quantized(quantized[torchs])


def _table(module: str, name: str) -> dict[Any, Any]:
    try:
        found: dict[Any, Any] = getattr(import_module(f"torch.ao.quantization.{module}"), name, {})
    except ImportError:
        return {}
    return found


class _Quantized:
    """In a table of torch's the place of a quantized class: what makes one of a layer of ours."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def from_float(self, layer: Any, **options: Any) -> nn.Module:
        """Return the quantized layer of torch's that does what this one does."""
        twin = _plain(layer, is_qat=False)
        twin.activation_post_process = layer.activation_post_process
        made: nn.Module = self._kind.from_float(twin, **options)
        return made


def _with_twins(fuse: _Fuser, ours: type[nn.Module]) -> _Fuser:
    def fused(is_qat: bool, *modules: nn.Module) -> nn.Module:
        return fuse(is_qat, *(_plain(m, is_qat) if type(m) is ours else m for m in modules))

    return fused


def _plain(layer: Any, is_qat: bool) -> nn.Module:
    """Return torch's layer in the place of ours.

    Raises:
        OptionError: it would lose what ours does beyond.
    """
    found = beyond_torch(layer, training=is_qat)
    if found:
        raise OptionError(
            "torch.ao.quantization needs a layer that does no more than torch's, got "
            f"{', '.join(found)}: {way_out(layer, _REVERT)}"
        )
    return twin_of(layer)
