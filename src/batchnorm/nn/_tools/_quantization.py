"""Quantization by `torch.ao`: how `fuse_modules` fuses our layers with what they stand beside."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from batchnorm.errors import OptionError
from batchnorm.nn._tools._beyond import beyond_torch, way_out
from batchnorm.nn._tools._programs import plain_of, twin_of

_REVERT = "call batchnorm.revert(model) first, which makes an activation a module of its own"
_Fuser = Callable[..., nn.Module]


def register_fusers(*kinds: type[nn.Module]) -> None:
    """Have `fuse_modules` fuse classes of ours as it does torch's for 1d, 2d and 3d.

    Torch looks a sequence of modules up by their exact classes. Where the table is not found, as in
    a torch without `torch.ao.quantization`, there is nothing to do.
    """
    try:
        mappings: Any = import_module("torch.ao.quantization.fuser_method_mappings")
    except ImportError:
        return
    known: dict[tuple[type, ...], _Fuser] = getattr(
        mappings, "_DEFAULT_OP_LIST_TO_FUSER_METHOD", {}
    )
    for ours, torchs in ((kind, plain_of(kind)) for kind in kinds):
        for sequence, fuse in list(known.items()):
            if torchs in sequence:
                same = tuple(ours if kind is torchs else kind for kind in sequence)
                known[same] = _with_twins(fuse, ours)


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
            "torch.ao.quantization.fuse_modules needs a layer that does no more than torch's, got "
            f"{', '.join(found)}: {way_out(layer, _REVERT)}"
        )
    return twin_of(layer)
