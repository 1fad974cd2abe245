"""Freezing of all layers of a model together, and unfreezing."""

from collections.abc import Callable, Iterable, Iterator

from torch import nn

from batchnorm._model._edit import edit
from batchnorm._model._find import is_batch_norm, names_of
from batchnorm._model._statistics import other_statistics
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.nn._modes import Modes, check_model
from batchnorm.surgery._change_class import remember
from batchnorm.surgery._record import LEFT_ALONE, Change, Record


def freeze(model: nn.Module, *, affine: bool = False, names: Iterable[str] | None = None) -> Record:
    """Have the layers of a model normalize with their running statistics, in training too.

    The running statistics then stay as they are, whatever `train()` and `eval()` do, through
    copies and pickles, until `unfreeze`.

    Args:
        model: any module with layers of `batchnorm.nn`. To freeze a part of it, give that part.
        affine: freeze weight and bias too.
        names: qualified names of the layers to freeze; `None` freezes all.

    Returns:
        What became of every layer.

    Raises:
        SurgeryError: a layer is not ours, has no running statistics, or is adapting; or there is
            none. Nothing has changed then.
        OptionError: one of `names` is no batch normalization layer.

    Note:
        A frozen layer is an affine map, also for its gradient.

    Example:
        >>> import torch, batchnorm
        >>> model = nn.Sequential(nn.Linear(3, 4), batchnorm.nn.BatchNorm1d(4))
        >>> print(freeze(model, affine=True))
        freeze: 1 done, 0 left alone
        module  what    detail
        1       frozen  with weight and bias
        >>> _ = model.train()(torch.ones(2, 3))
        >>> model[1].num_batches_tracked.item()
        0
    """
    check_model(model)
    layers = _layers(model, names, _obstacle)
    rows = []
    with edit(model) as changes:
        for name, layer in layers.items():
            if layer.frozen and layer.affine_frozen >= affine:
                rows.append(Change(name, LEFT_ALONE, "frozen already"))
                continue
            remember(layer, changes)
            layer.freeze(affine=affine)
            rows.append(Change(name, "frozen", "with weight and bias" if affine else ""))
    return Record("freeze", (*rows, *_others(model, names)))


def unfreeze(model: nn.Module, *, names: Iterable[str] | None = None) -> Record:
    """Undo `freeze`: `requires_grad` of weight and bias becomes what it was.

    Args:
        model: any module with layers of `batchnorm.nn`.
        names: qualified names of the layers to unfreeze; `None` unfreezes all.

    Returns:
        What became of every layer.

    Raises:
        SurgeryError: a layer is not ours, or there is none.
        OptionError: one of `names` is no batch normalization layer.

    Example:
        >>> import batchnorm
        >>> model = nn.Sequential(batchnorm.nn.BatchNorm1d(4))
        >>> _ = freeze(model)
        >>> print(unfreeze(model))
        unfreeze: 1 done, 0 left alone
        module  what
        0       unfrozen
    """
    check_model(model)
    layers = _layers(model, names, _foreign)
    rows = []
    with edit(model) as changes:
        for name, layer in layers.items():
            if not layer.frozen:
                rows.append(Change(name, LEFT_ALONE, "not frozen"))
                continue
            remember(layer, changes)
            layer.unfreeze()
            rows.append(Change(name, "unfrozen"))
    return Record("unfreeze", (*rows, *_others(model, names)))


def _layers(
    model: nn.Module, names: Iterable[str] | None, obstacle: Callable[[nn.Module], str]
) -> dict[str, Modes]:
    """Return the layers that are meant, all of them ours and without obstacle."""
    meant = _meant(model, names)
    reasons = {name: obstacle(layer) for name, layer in meant.items()}
    if found := {name: reason for name, reason in reasons.items() if reason}:
        listing = "; ".join(f"{name or 'the model'}: {why}" for name, why in found.items())
        raise SurgeryError(
            f"layers of batchnorm.nn with running statistics are needed, got others ({listing}): "
            "change them, or leave them out with names="
        )
    return {name: layer for name, layer in meant.items() if isinstance(layer, Modes)}


def _others(model: nn.Module, names: Iterable[str] | None) -> Iterator[Change]:
    """Yield the modules with statistics of another kind, unless names were given."""
    for module, name in names_of(model).items():
        if names is None and (reason := other_statistics(module)):
            yield Change(name, LEFT_ALONE, reason)


def _meant(model: nn.Module, names: Iterable[str] | None) -> dict[str, nn.Module]:
    """Return the batch normalization layers of these names, ours or not."""
    found = {
        module: name
        for module, name in names_of(model).items()
        if isinstance(module, Modes) or is_batch_norm(module)
    }
    if names is not None:
        modules = dict(model.named_modules(remove_duplicate=False))
        wanted = {name: modules.get(name) for name in names}
        if strange := [name for name, module in wanted.items() if module not in found]:
            raise OptionError(
                f"names must be those of batch normalization layers, got {', '.join(strange)}: "
                "take them from model.named_modules()"
            )
        found = {m: name for m, name in found.items() if m in wanted.values()}
    if not found:
        raise SurgeryError(
            "a model with batch normalization is needed, got one without: "
            "there is nothing to freeze or unfreeze"
        )
    return {name: module for module, name in found.items()}


def _foreign(layer: nn.Module) -> str:
    return "" if isinstance(layer, Modes) else "not ours, convert the model first"


def _obstacle(layer: nn.Module) -> str:
    """Return why a layer cannot be frozen, or nothing."""
    if not isinstance(layer, Modes):
        return _foreign(layer)
    if not layer.track_running_stats or layer.running_mean is None:
        return "it has no running statistics"
    return "it is adapting, call its adapt(False) first" if layer.adapting else ""
