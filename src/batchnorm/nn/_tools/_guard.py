"""Guard of a layer against tools that take it for a plain one, and would lose what else it does.

They find our layers by `isinstance`, which is what makes ours work where torch's does, and build
something else of the tensors: a fused convolution, a synchronized or a frozen layer. None of them
asks the layer. What they have in common is that one function reads the running variance and what
belongs to it, and is named after what it does; vendored copies keep the name. Such a function gets
an error where something would be lost, which names our own tool for the purpose.
"""

import re
import sys
import warnings
from types import CodeType, FrameType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from batchnorm.errors import OptionError
from batchnorm.nn._tools._beyond import beyond_torch, way_out
from batchnorm.nn._tools._opacus import register_with_opacus
from batchnorm.nn._tools._programs import scriptable


class _Tool(NamedTuple):
    """A kind of tool: how its functions are called, and what to do in their place."""

    named: re.Pattern[str]
    trains: bool  # whether what it builds is trained
    way: str


_FUSERS = _Tool(
    re.compile(r"_*(fuse|fold|merge|absorb|reparam|switch_to_deploy)|MkldnnBatchNorm\."),
    trains=False,
    way="call batchnorm.fold(model) instead, or batchnorm.revert(model) first",
)
_FREEZERS = _Tool(
    re.compile(r"_*(freeze|unfreeze|convert_frozen)"),
    trains=True,
    way="call batchnorm.freeze(model) instead",
)
_CONVERTERS = _Tool(
    re.compile(r"_*(convert|replace)"),
    trains=True,
    way="call batchnorm.revert(model) first, which makes torch's layers, an activation a module "
    "of its own, or says what stands in the way",
)
# Besides the running variance; a few who freeze a layer forget the latter.
_REBUILT_FROM = {"eps"}, {"running_mean", "weight", "bias"}
_START_ANEW = {"update_bn", "reset_batch_norm_and_save_state"}  # of torch, of Lightning
_START = {"running_mean": 0.0, "running_var": 1.0}
_WATCHED = {*_START, "rule"}
# Explain a network by the types of its modules; others of captum read what a layer gives.
_BY_TYPE = "captum.attr._core.", "shap."


class Guarded(nn.Module):
    """A layer that says so when a tool would lose what it does beyond torch's layer."""

    _like_torch = "never"  # or "evaluation", or "always": when torch's layer does the same
    _one_of_several: bool = False  # whether it has the statistics of one domain among others
    _needs_statistics = False  # whether in training it takes its running statistics
    _given_more: bool = False  # whether a call has given it more than torch's layer takes

    def __getattr__(self, name: str) -> Any:
        """Return a tensor or a module, unless a tool asks that would lose something."""
        if name in _WATCHED and not torch.compiler.is_compiling():
            _check_reader(self, name, sys._getframe(1))  # noqa: SLF001 -- who asks
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless that would start frozen statistics anew."""
        if name in _START and self.__dict__.get("frozen") and is_start(value, _START[name]):
            _warn_frozen(f"setting {name} to its start")
            return
        if name == "running_mean" and value is None:
            _check_without(self, _setter())
        super().__setattr__(name, value)

    def _starts_anew(self) -> bool:
        """Return whether the caller's caller may start the running statistics anew."""
        _check_start_anew(self, sys._getframe(2).f_code)  # noqa: SLF001 -- who asks
        if self.__dict__.get("frozen"):
            _warn_frozen("reset_running_stats")
            return False
        return True

    def _remember_call(self) -> None:
        """Remember that a call has given more than torch's layer takes."""
        if not self._given_more and not torch.compiler.is_compiling():
            self._given_more = True

    def __prepare_scriptable__(self) -> torch.nn.Module:
        """Give `torch.jit.script`, which does not compile this class, the same map of torch's."""
        return scriptable(self)

    def parameters(self, recurse: bool = True) -> Any:
        """Return an iterator over the parameters."""
        register_with_opacus(type(self))  # its validator asks for them before it looks the type up
        return super().parameters(recurse)

    def apply(self, fn: Any) -> Self:
        """Apply a function to this module.

        Raises:
            OptionError: it explains networks by the types of their modules, and this one holds an
                activation.
        """
        _check_by_type(self, fn)
        return super().apply(fn)

    def register_forward_hook(self, hook: Any, **options: Any) -> Any:
        """Register a hook.

        Raises:
            OptionError: as `apply`.
        """
        _check_by_type(self, hook)
        return super().register_forward_hook(hook, **options)


def _check_reader(layer: Guarded, name: str, frame: FrameType) -> None:
    """Refuse a function that builds something else of a layer's tensors, and loses the rest."""
    code, module = frame.f_code, frame.f_globals.get("__name__", "")
    if module.startswith("batchnorm."):
        return
    if name == "rule":
        _check_rule(layer, module)
        return
    _check_start_anew(layer, code)
    names = set(code.co_names)
    if "running_var" not in names or not any(each <= names for each in _REBUILT_FROM):
        return
    called = code.co_qualname if code.co_name == "__init__" else code.co_name
    for tool in (_FUSERS, _FREEZERS, _CONVERTERS):
        found = tool.named.match(called) and beyond_torch(layer, training=tool.trains)
        if found:
            way = tool.way if tool is _FREEZERS else way_out(layer, tool.way)
            raise OptionError(
                f"{code.co_qualname} of {module} needs a layer that does no more than torch's, "
                f"got {', '.join(found)}, which would be lost: {way}"
            )


def _check_start_anew(layer: Guarded, code: CodeType) -> None:
    """Refuse to start the statistics of all domains anew for a pass that sees some of them."""
    if layer._one_of_several and code.co_name in _START_ANEW:  # noqa: SLF001 -- a layer's own flag
        raise OptionError(
            f"{code.co_name} starts the statistics of all domains anew and passes over the data of "
            "one, got a domain-specific layer: call batchnorm.recalibrate(model, batches) for each "
            "domain, inside batchnorm.nn.use_domain(model, domain)"
        )


def _setter() -> CodeType:
    """Return who sets an attribute, behind the `__setattr__` of our own classes."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_code.co_name == "__setattr__":
        frame = frame.f_back
    assert frame is not None  # noqa: S101 -- somebody called it
    return frame.f_code


def _check_without(layer: Guarded, code: CodeType) -> None:
    """Refuse to take the running statistics from a layer that normalizes with them."""
    taken = code.co_name == "batch_norm_without_running_stats"  # of torch.func
    if taken and (layer.__dict__.get("frozen") or layer._needs_statistics):  # noqa: SLF001
        what = "a frozen layer" if layer.__dict__.get("frozen") else type(layer).__name__
        raise OptionError(
            "torch.func.replace_all_batch_norm_modules_ takes the running statistics away, got "
            f"{what}, which normalizes with them: leave it out, or call batchnorm.fold(model) first"
        )


def _check_rule(layer: Guarded, module: str) -> None:
    if module.startswith(_BY_TYPE):
        raise OptionError(
            f"{module} chooses a rule by the type of a module and knows torch's, got "
            f"{type(layer).__module__}.{type(layer).__name__}: call batchnorm.revert(model) first, "
            "or set the layer's `rule` yourself"
        )


def _check_by_type(layer: Guarded, fn: Any) -> None:
    module = getattr(fn, "__module__", None) or ""
    if module.startswith(_BY_TYPE) and getattr(layer, "activation", None) is not None:
        raise OptionError(
            f"{module} looks for activations by the types of modules and misses one inside a "
            f"layer, got activation={layer.activation!r}: call batchnorm.revert(model) first, "
            "which makes it a module of its own"
        )


def is_start(values: Any, start: float) -> bool:
    """Return whether somebody gives running statistics as they are at the start."""
    return type(values) is Tensor and not values.is_meta and bool((values == start).all())


def _warn_frozen(what: str) -> None:
    """Say that frozen statistics stay as they are."""
    warnings.warn(
        f"{what} leaves a frozen layer's running statistics alone, also when a tool does it that "
        "averages weights (torch.optim.swa_utils.update_bn, Lightning's): call unfreeze() first "
        "to reset them",
        stacklevel=3,
    )
