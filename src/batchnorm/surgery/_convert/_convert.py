"""Conversion of other packages' batch normalization to ours, in place."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from batchnorm import nn as ours
from batchnorm._model._call import check_call
from batchnorm._model._edit import Edit, edit
from batchnorm._model._find import TO_OURS, is_batch_norm, names_of
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.nn import Layer
from batchnorm.nn._decorrelated import DecorrelatedLayer
from batchnorm.nn._modes import check_model
from batchnorm.surgery._change_class import change_class, held
from batchnorm.surgery._convert._foreign import Proven, foreign, looks_foreign
from batchnorm.surgery._fuse import Fusion, fuse_layers
from batchnorm.surgery._record import LEFT_ALONE, NO_LAYERS, Change, Record


def convert(
    model: nn.Module,
    *,
    fuse: bool = False,
    example_inputs: Any = None,
    unknown: Literal["refuse", "leave"] = "refuse",
) -> Record:
    """Turn every batch normalization layer that is known into one of ours, in place.

    Known are torch's `BatchNorm1d`, `2d`, `3d` and their lazy forms, timm's `BatchNormAct2d` and
    `FrozenBatchNormAct2d`, and the `FrozenBatchNorm2d` of torchvision, detectron2 and
    transformers, which become frozen layers.

    Args:
        model: any module, also a layer itself. Every layer stays the same object and only changes
            its class: parameters, buffers, hooks, modes, devices and attributes are untouched, and
            an optimizer created before goes on training it.
        fuse: let a layer also do the ReLU, LeakyReLU or SiLU module that alone follows it, in the
            same pass over memory; the module gives way to a `Fused` identity. In a
            `torch.fx.GraphModule` also function calls, and the addition of a residual. What
            follows what is found by tracing, and the result is proven by numbers.
        example_inputs: for `fuse`: a tensor, a tuple of arguments or a dict of keyword arguments
            that the model can be trained and evaluated with.
        unknown: what to do about a layer of another class, such as a subclass with its own
            forward: ``refuse`` raises before anything has changed, ``leave`` leaves it alone.

    Returns:
        What became of every layer that was not ours already. `torch.nn.SyncBatchNorm`, a layer
        with parametrizations, and one whose activation ours does not have are left alone.

    Raises:
        SurgeryError: a layer is unknown, or, with `fuse`, the model cannot be traced or gives
            other numbers afterwards.
        OptionError: `unknown` is neither of the two words, or `fuse` has no example inputs.

    Note:
        A layer taken over from torch gives what torch's gives, but for rounding: ours is more
        exact. Its `state_dict` is the same.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> print(convert(model))
        convert: 1 done, 0 left alone
        module  what       detail
        1       converted  from torch.nn.BatchNorm2d
        >>> type(model[1])
        <class 'batchnorm.nn._batchnorm.BatchNorm2d'>
    """
    check_model(model)
    if unknown not in ("refuse", "leave"):
        raise OptionError(f"unknown must be 'refuse' or 'leave', got {unknown!r}: take one of them")
    if fuse and example_inputs is None:
        raise OptionError(
            "fuse needs example_inputs, got None: give what the model's forward takes, "
            "so that it can be traced"
        )
    if fuse:
        check_call(model, example_inputs)
    proven: Proven = {}
    verdicts = {
        module: verdict
        for module, verdict in ((m, _judge(m, proven)) for m in model.modules() if is_batch_norm(m))
        if verdict is not None
    }
    names = names_of(model)
    if unknown == "refuse":
        _refuse_unknown({names[m]: v.reason for m, v in verdicts.items() if v.refused})
    with edit(model) as changes:
        rows = {m: _take_over(names[m], m, verdict, changes) for m, verdict in verdicts.items()}
        error = None
        if fuse:
            fusions, error = fuse_layers(model, example_inputs, changes)
            rows |= {m: _with(rows.get(m), names[m], fusion) for m, fusion in fusions.items()}
    return Record("convert", tuple(rows[m] for m in names if m in rows), error, _note(model, rows))


def _note(model: nn.Module, rows: Mapping[nn.Module, Change]) -> str:
    """Return why nothing was done, where nothing was."""
    if rows:
        return ""
    known = sum(map(is_batch_norm, model.modules()))
    return f"its {known} batch normalization layers are ours already" if known else NO_LAYERS


class _Verdict(NamedTuple):
    """What is to be done about a layer: how it becomes ours, or the reason why it does not."""

    take_over: Callable[[nn.Module, Edit], None] | None = None
    reason: str = ""
    refused: bool = False


def _judge(module: nn.Module, proven: Proven) -> _Verdict | None:
    """Return the verdict about a layer, or nothing for one of ours."""
    if isinstance(module, (Layer, DecorrelatedLayer)):
        return None
    if isinstance(module, torch.jit.ScriptModule):
        return _Verdict(reason="torch.jit has compiled it, convert before that", refused=True)
    if "forward" in vars(module):
        return _Verdict(reason="its forward was replaced on the instance", refused=True)
    kind = TO_OURS.get(type(module))
    verdict = _Verdict(partial(_become, kind)) if kind else _judge_other(module, proven)
    if verdict.take_over and (clash := held(ours.BatchNorm2d) & vars(module).keys()):
        reason = f"it has attributes of its own that our layer uses: {', '.join(sorted(clash))}"
        return _Verdict(reason=reason, refused=True)
    return verdict


def _judge_other(module: nn.Module, proven: Proven) -> _Verdict:
    """Return the verdict about a layer that is not exactly one of torch's."""
    if type(module) is nn.SyncBatchNorm:
        return _Verdict(reason="there is no synchronized layer of ours to take its place")
    if parametrize.is_parametrized(module):
        return _Verdict(reason="it has parametrizations, which are a class of their own")
    if not looks_foreign(module):
        return _Verdict(reason=f"{_qualified(module)} may have a forward of its own", refused=True)
    known = foreign(module, proven)
    return _Verdict(reason=known) if isinstance(known, str) else _Verdict(known.take_over)


def _refuse_unknown(found: dict[str, str]) -> None:
    if found:
        listing = "; ".join(f"{name or 'the model'}: {reason}" for name, reason in found.items())
        raise SurgeryError(
            f"batch normalization layers of a known class are needed, got also others ({listing}): "
            "leave them as they are with unknown='leave', or replace them yourself"
        )


def _take_over(name: str, module: nn.Module, verdict: _Verdict, changes: Edit) -> Change:
    if verdict.take_over is None:
        return Change(name, LEFT_ALONE, verdict.reason)
    before = _qualified(module)
    verdict.take_over(module, changes)
    return Change(name, "converted", f"from {before}")


def _with(row: Change | None, name: str, fusion: Fusion) -> Change:
    """Add to a layer's row what became of the fusion."""
    if row is None:
        return Change(name, "fused" if fusion.done else LEFT_ALONE, fusion.words)
    words = f"with {fusion.words}" if fusion.done else f"nothing fused: {fusion.words}"
    return replace(row, detail=f"{row.detail}, {words}")


def _become(kind: type[nn.Module], module: nn.Module, changes: Edit) -> None:
    change_class(module, kind, changes)


def _qualified(module: nn.Module) -> str:
    """Return a class as its users call it, as in ``torch.nn.BatchNorm2d``."""
    kind = type(module)
    home = kind.__module__.replace("torch.nn.modules.batchnorm", "torch.nn")
    return f"{home}.{kind.__qualname__}"
