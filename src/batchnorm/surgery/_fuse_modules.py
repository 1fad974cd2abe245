"""An activation module behind one of our layers is done by the layer, in place."""

from typing import Any, NamedTuple

from torch import nn

from batchnorm.nn._layer import Layer

from ._edit import Edit
from ._fused import HOOKED, Fused, Fusion, is_plain
from ._graph import Call, Graph, trace_both
from ._kinds import ACTIVATIONS, activation_of, has_hooks


def fuse_modules(model: nn.Module, example_inputs: Any, changes: Edit) -> dict[nn.Module, Fusion]:
    """Let each layer of ours do the activation module that alone follows it.

    Args:
        model: the model, with layers of ours.
        example_inputs: as for `trace`.
        changes: undoes it.

    Returns:
        What became of every layer of ours that had no activation.
    """
    modules = dict(model.named_modules())
    graphs = trace_both(model, example_inputs)
    layers = {name: module for name, module in modules.items() if is_plain(module)}
    plan = {layer: _judge(name, modules, graphs) for name, layer in layers.items()}
    return {layer: _carry_out(layer, found, changes) for layer, found in plan.items()}


def _carry_out(layer: Layer, found: "_Follower | str", changes: Edit) -> Fusion:
    if isinstance(found, str):
        return Fusion(False, found)
    for name, value in (activation_of(found.module) or {}).items():
        changes.set_attribute(layer, name, value)
    changes.replace(found.module, Fused(layer, found.module))
    return Fusion(True, f"{type(found.module).__name__} of {found.name}")


class _Follower(NamedTuple):
    name: str
    module: nn.Module


def _judge(name: str, modules: dict[str, nn.Module], graphs: list[Graph]) -> _Follower | str:
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
) -> _Follower | str:
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


def _only_user(call: Call, graph: Graph, *, training: bool) -> Call | None:
    """Return the step that alone takes a layer's result.

    In training the next call of the same layer takes its running statistics, which is no use of
    the result; whether it takes that too is seen in evaluation.
    """
    users = [graph.calls[index] for index in call.users]
    others = [user for user in users if not training or user.module != call.module]
    return others[0] if len(others) == 1 else None


def _usable(user: Call, modules: dict[str, nn.Module], graph: Graph, calls: int) -> _Follower | str:
    """Return the module that follows, unless something stands against giving it up."""
    name = user.module
    if not name:
        hint = ", a call that only a GraphModule can lose" if user.op in ACTIVATIONS else ""
        return f"{user.op} follows{hint}"
    module = modules[name]
    kind = type(module).__name__
    if activation_of(module) is None:
        return f"{kind} follows"
    if (places := len(graph.calls_of(name))) > calls:
        return f"{kind} {name} is called at {places} places"
    if has_hooks(module):
        return f"{kind} {name} has hooks"
    return _Follower(name, module)
