"""Weights of a model, also those of a wrapped one: names compared, wrappers taken off, loaded."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from batchnorm.cli import _weight_files
from batchnorm.errors import DataError

# What torch.compile, FSDP and activation checkpointing put into names, wherever they wrap.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_AVERAGED, _WRAPPED = "n_averaged", "module"
_SHOWN = 3


def load(model: nn.Module, path: Path | None) -> str:
    """Load weights from a file into a model; what wrappers added to their names is taken off.

    Args:
        model: takes the weights.
        path: the file (see `_weight_files.read`); `None` leaves the model as it is.

    Returns:
        What was taken out of the file in place of all that it holds, in words, or nothing.

    Raises:
        OptionError: the file is of an unknown kind.
        DataError: it cannot be read, or is not of this model.
    """
    if path is None:
        return ""
    state, inside = _weight_files.read(path)
    names, left = _renamed(tuple(state), tuple(model.state_dict()))
    taken = _taken(path, inside, left)
    _check(model, {names[name]: value for name, value in state.items() if name in names}, path)
    try:
        model.load_state_dict(_state(state, names))
    except Exception as error:  # a model may have hooks that raise whatever they like
        words = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} cannot be loaded into this model ({type(error).__name__}: {words}): load it "
            "in Python to see why"
        ) from error
    return taken


def _state(state: Mapping[str, Any], names: Mapping[str, str]) -> OrderedDict[str, Any]:
    """Return the weights under the model's names, with the versions of its layers."""
    found = OrderedDict((names[name], value) for name, value in state.items() if name in names)
    versions = getattr(state, "_metadata", None)
    if isinstance(versions, Mapping):
        own = {_owner(old): _owner(new) for old, new in names.items()}
        found._metadata = OrderedDict(  # type: ignore[attr-defined]  # noqa: SLF001 -- torch's
            (own.get(name, name), version) for name, version in versions.items()
        )
    return found


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _taken(path: Path, inside: str, left: str) -> str:
    """Return what was done to find the weights, in one line; empty where they were all."""
    words = [f"{inside} of {path}"] if inside else [str(path)]
    words += [f"without {left}"] if left else []
    return f"Weights: {', '.join(words)}" if inside or left else ""


# ------------------------------------------------------------------------------------------ names


def _renamed(theirs: Collection[str], ours: Collection[str]) -> tuple[dict[str, str], str]:
    """Return the model's name for each of the file's, and in words what was taken off.

    First what wrappers put anywhere into a name, then as many of the parts that all names begin
    with as make most of them names of the model.

    Example:
        >>> _renamed(["n_averaged", "module.weight"], ["weight"])
        ({'module.weight': 'weight'}, 'n_averaged and module.')
    """
    if set(theirs) == set(ours):
        return {name: name for name in theirs}, ""
    own = {bare: name for name, bare in _bare(ours).items()}
    best, off = max(_stripped(_bare(theirs)), key=lambda one: len(own.keys() & one[0].values()))
    inside = [f"{word}." for word in _WRAPPERS if _holds(theirs, word) and not _holds(ours, word)]
    return {name: own.get(bare, bare) for name, bare in best.items()}, " and ".join(off + inside)


def _bare(names: Collection[str]) -> dict[str, str]:
    """Return the names without what wrappers put into them, unless two would become one."""
    found = {
        name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names
    }
    return found if len(set(found.values())) == len(found) else {name: name for name in names}


def _holds(names: Iterable[str], word: str) -> bool:
    return any(word in name.split(".") for name in names)


def _stripped(found: dict[str, str]) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Yield the names without none, one, two, ... of the first parts that they share."""
    off: list[str] = []
    while True:
        yield found, off
        if not off:  # a model that is wrapped itself, and weights that are not
            yield {name: f"{_WRAPPED}.{bare}" for name, bare in found.items()}, off
        heads = {bare.partition(".")[0] for bare in found.values() if bare != _AVERAGED}
        if len(heads) != 1 or not all("." in bare or bare == _AVERAGED for bare in found.values()):
            return
        (head,) = heads
        if _AVERAGED in found.values():
            if head != _WRAPPED:
                return
            found = {name: bare for name, bare in found.items() if bare != _AVERAGED}
            off = [*off, _AVERAGED]
        found = {name: bare.removeprefix(f"{head}.") for name, bare in found.items()}
        off = [*off, f"{head}."]


# ------------------------------------------------------------------------------- what does not fit


def _check(model: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Refuse weights that are not of this model, with the reason."""
    ours = model.state_dict()
    missing = [name for name in ours if name not in state and not _may_miss(name)]
    unexpected = [name for name in state if name not in ours]
    shapes = [
        f"{name} ({tuple(ours[name].shape)} needed, {tuple(value.shape)} came)"
        for name, value in state.items()
        if name in ours and _differs(ours[name], value)
    ]
    counted = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    if any(found for _, found in counted):
        words = "; ".join(_listed(kind, found) for kind, found in counted if found)
        why = _why(model, state, missing, unexpected)
        raise DataError(f"{path} does not hold the weights of this model, {why}. {words}")
    odd = [name for name, value in state.items() if _casts(ours[name], value)]
    if odd:
        name = odd[0]
        came = state[name]
        advice = (
            "save the real part, or name the factory whose model is complex"
            if came.is_complex()
            else "scale them back to floating point first, as whatever quantized them does"
        )
        raise DataError(
            f"{path} needs real floating-point numbers in {name}, got {came.dtype}: {advice}"
        )


def _may_miss(name: str) -> bool:
    """Whether torch itself does without: counters are younger than running statistics."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def _differs(ours: Any, theirs: Any) -> bool:
    if not isinstance(ours, torch.Tensor) or not isinstance(theirs, torch.Tensor) or is_lazy(ours):
        return False
    one = ours.ndim == 0 and tuple(theirs.shape) == (1,)  # as torch saved numbers once
    return ours.shape != theirs.shape and not one


def _casts(ours: Any, theirs: Any) -> bool:
    both = isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor)
    return (
        both and not is_lazy(ours) and ours.is_floating_point() and not theirs.is_floating_point()
    )


def _listed(kind: str, names: list[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(f'{name:.120}' for name in names[:_SHOWN])}{more}"


def _why(
    model: nn.Module,
    state: Mapping[str, Any],
    missing: list[str],
    unexpected: list[str],
) -> str:
    """Return what is the matter, and what to do."""
    reasons = (
        (not state, "because it holds none: save model.state_dict()"),
        (
            not missing and not unexpected,
            "whose sizes are others: let the factory make it in the sizes that were trained",
        ),
        (
            len(unexpected) == len(state),
            "none of whose names it has: name the factory that made them",
        ),
        (
            not missing,
            "it holds more: name the factory that made all of it, or save this model's part alone",
        ),
        (
            _all_of_normalization(model, missing),
            "it lacks those of batch normalization, as a folded model's do: name its factory",
        ),
        (not unexpected, "it holds only a part: save the whole model.state_dict()"),
    )
    other = "of which it has only some: name the factory that made them, in the same version"
    return next((words for applies, words in reasons if applies), other)


def _all_of_normalization(model: nn.Module, missing: list[str]) -> bool:
    layers = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)  # noqa: SLF001 -- torch's base
    }
    return bool(missing) and all(_owner(name) in layers for name in missing)
