"""Target layers: those of a model whose population statistics may be estimated anew."""

from collections.abc import Iterable
from typing import NamedTuple

from torch.nn import Module
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm._model._find import check_initialized, unwrapped
from batchnorm._model._statistics import has_buffers, other_statistics
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.nn._modes import Modes
from batchnorm.surgery._record import LEFT_ALONE, Change

Layers = dict[str, _BatchNorm]
_READERS = "torch.ao.nn.intrinsic.qat"  # whose modules take the statistics of a layer inside
_QUANTIZED = "torch.ao.nn.quantized"


class Targets(NamedTuple):
    """The layers of a model with statistics, in its order; a shared one by its first name.

    Attributes:
        layers: those to estimate.
        reasons: why the others are left alone, and nothing for those to estimate.
    """

    layers: Layers
    reasons: dict[str, str]

    def changes(self, what: str, details: dict[str, str], without: str) -> tuple[Change, ...]:
        """Return what became of all of them.

        Args:
            what: what was done to those in `details`.
            details: more about it, by name.
            without: why those that are missing from `details` were left alone after all.
        """
        return tuple(
            Change(name, what, details[name])
            if name in details
            else Change(name, LEFT_ALONE, why or without)
            for name, why in self.reasons.items()
        )


def targets(model: Module, names: Iterable[str] | None) -> Targets:
    """Return the layers of `model` to estimate.

    Args:
        model: any model.
        names: qualified names of the layers to take; `None` takes all that are not frozen.

    Raises:
        OptionError: one of `names` is not a batch-norm layer with running statistics, or is frozen.
        SurgeryError: there is no layer to take, or the model has uninitialized lazy modules.
    """
    check_initialized(model, SurgeryError)
    norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
    reasons = {
        name: _why_not(model, name, m) if name in norms else other_statistics(m)
        for name, m in model.named_modules()
        if name in norms or other_statistics(m)
    }
    if names is not None:
        wanted = {id(_named(model, name)) for name in names}
        for name, layer in norms.items():
            if id(layer) not in wanted:
                reasons[name] = reasons[name] or "not among the names"
    layers = {name: layer for name, layer in norms.items() if not reasons[name]}
    if not layers:
        found = "; ".join(f"{name or 'the model'}: {why}" for name, why in reasons.items())
        raise SurgeryError(
            "a batch-norm layer with running statistics that is not frozen is needed, got "
            f"{found or 'no batch-norm layer'}: give another model, or change its layers first"
        )
    return Targets(layers, reasons)


def _named(model: Module, name: str) -> Module:
    """Return the layer of that name, which may be the second name of a shared one."""
    layer = dict(model.named_modules(remove_duplicate=False)).get(name)
    if not isinstance(layer, _BatchNorm):
        found = "no module" if layer is None else f"a {type(layer).__name__}"
        raise OptionError(
            f"names must be those of batch-norm layers, got {name!r}, which is {found}: "
            "take them from model.named_modules()"
        )
    if why := _why_not(model, name, layer):
        raise OptionError(
            "names must be those of layers with running statistics that are not frozen, "
            f"got {name!r} ({why}): leave it out, or change the layer first"
        )
    return layer


def _why_not(model: Module, name: str, layer: _BatchNorm) -> str:
    """Return why a layer must be left alone, or nothing."""
    if not has_buffers(layer):
        return "no running statistics"
    if type(layer).__module__.startswith(_QUANTIZED):
        return "quantized: estimate before quantizing"
    holder = model.get_submodule(name.rpartition(".")[0])
    if type(holder).__module__.startswith(_READERS):
        return (
            f"{type(holder).__name__} reads its statistics in training: estimate before preparing"
        )
    if isinstance(layer, Modes) and layer.frozen:
        return "frozen"
    if unwrapped(model).training and not layer.training:
        return "frozen: in evaluation mode in a model that trains"
    return ""
