"""Fusion of activation modules into the layers of ours before them, in place."""

from typing import Any, NamedTuple

from torch import nn

from batchnorm._model._edit import Edit
from batchnorm._model._find import activation_of, has_hooks
from batchnorm._model._graph import Graph, Step
from batchnorm._model._trace import trace_both
from batchnorm.nn import Layer
from batchnorm.surgery._fuse._functions import FUNCTIONS
from batchnorm.surgery._fuse._fused import HOOKED, Fused, Fusion, is_plain


class Follower(NamedTuple):
    """The activation module that a layer can do, by its qualified name."""

    name: str


Plan = dict[str, Follower | str]  # by the layer's name; a reason where there is no such module


def plan_of(model: nn.Module, example_inputs: Any) -> Plan:
    """Return for each layer of ours the activation module that alone follows it, or why none does.

    Args:
        model: the model, with layers of ours; not touched.
        example_inputs: as for `trace`.
    """
    modules = dict(model.named_modules())
    graphs = trace_both(model, example_inputs)
    layers = [name for name, module in modules.items() if is_plain(module)]
    return {name: _judge(name, modules, graphs) for name in layers}


def fuse_modules(plan: Plan, model: nn.Module, changes: Edit) -> dict[nn.Module, Fusion]:
    """Let each layer do the activation module that follows it.

    Args:
        plan: as `plan_of` returns it, for this model or the one that it is a copy of.
        model: the model.
        changes: undoes it.

    Returns:
        What became of every layer of ours that had no activation.
    """
    modules = dict(model.named_modules())
    return {
        modules[name]: Fusion(False, found)
        if isinstance(found, str)
        else _fuse(modules[name], found.name, modules[found.name], changes)
        for name, found in plan.items()
    }


def _fuse(layer: nn.Module, name: str, activation: nn.Module, changes: Edit) -> Fusion:
    assert isinstance(layer, Layer)  # noqa: S101 -- the plan has no others
    for option, value in (activation_of(activation) or {}).items():
        changes.set_attribute(layer, option, value)
    changes.replace(activation, Fused(layer, activation))
    return Fusion(True, f"{type(activation).__name__} of {name}")


def _judge(name: str, modules: dict[str, nn.Module], graphs: list[Graph]) -> Follower | str:
    """Return the activation module that a layer can do, or why there is none."""
    if has_hooks(modules[name]):
        return HOOKED
    found = {
        _follower(name, modules, graph, training=training)
        for graph, training in zip(graphs, (True, False), strict=True)
    }
    if len(found) > 1:
        return "what follows differs between training and evaluation"
    return found.pop()


def _follower(
    name: str, modules: dict[str, nn.Module], graph: Graph, *, training: bool
) -> Follower | str:
    if not name:
        return "it is the whole model, in which nothing follows"
    calls = graph.calls_of(name)
    users = [_only_user(call, graph, training=training) for call in calls]
    followers = {(user.module, user.op) if user else None for user in users}
    if not calls:
        return "it is not called with these inputs"
    if users[0] is None or None in followers:
        return "its output is used at several places"
    if len(followers) > 1:
        return "its calls are followed by different steps"
    return _usable(users[0], modules, graph, len(calls))


def _only_user(call: Step, graph: Graph, *, training: bool) -> Step | None:
    """Return the step that alone takes a layer's result.

    In training the next call of the same layer takes its running statistics, which is no use of
    the result; whether it takes that too is seen in evaluation.
    """
    users = [graph.calls[index] for index in call.users]
    others = [user for user in users if not training or user.module != call.module]
    return others[0] if len(others) == 1 else None


def _usable(user: Step, modules: dict[str, nn.Module], graph: Graph, calls: int) -> Follower | str:
    """Return the module that follows, unless something prevents giving it up."""
    name = user.module
    if not name:
        hint = ", a call that only a GraphModule can lose" if user.op in FUNCTIONS else ""
        return f"{user.op} follows{hint}"
    module = modules[name]
    kind = type(module).__name__
    if activation_of(module) is None:
        return f"{kind} follows"
    if (places := len(graph.calls_of(name))) > calls:
        return f"{kind} {name} is called at {places} places"
    if has_hooks(module):
        return f"{kind} {name} has hooks"
    return Follower(name)
