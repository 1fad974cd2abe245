"""Fusing in a `torch.fx.GraphModule`, whose graph says what is called and can be rewritten.

There a function call can be given up as well as a module, an activation that several places share,
and the addition of a residual, which our layers take as a second argument.
"""

import copy
import operator
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ._arguments import arguments
from ._edit import Edit
from ._fused import HOOKED, Fusion, is_plain
from ._kinds import TO_TORCH, activation_of, has_hooks

_FUNCTIONS: dict[Any, str] = {
    F.relu: "relu",
    F.relu_: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    "relu": "relu",
    "relu_": "relu",
    F.silu: "silu",
    F.leaky_relu: "leaky_relu",
    F.leaky_relu_: "leaky_relu",
}
_ADDITIONS = (operator.add, torch.add, "add")
_ADDITIONS_IN_PLACE = (operator.iadd, "add_")


def fuse_graph(
    model: fx.GraphModule, example_inputs: Any, changes: Edit
) -> dict[nn.Module, Fusion]:
    """Let each layer of ours do the addition and the activation that alone follow it.

    Args:
        model: traced from a model; its graph is replaced by a rewritten copy.
        example_inputs: as for `trace`.
        changes: undoes it.

    Returns:
        What became of every layer of ours that had no activation.
    """
    shapes = _shapes_of(model, example_inputs)
    graph = copy.deepcopy(model.graph)
    calls: dict[nn.Module, list[fx.Node]] = {m: [] for m in model.modules() if is_plain(m)}
    for node in graph.find_nodes(op="call_module"):
        calls.get(model.get_submodule(node.target), []).append(node)
    found = {
        layer: _fuse(model, graph, nodes, shapes, changes) for layer, nodes in calls.items()
    }
    _put(model, graph, changes)
    return found


def unfuse_graph(model: fx.GraphModule, changes: Edit) -> None:
    """Have what our layers do besides normalizing done by function calls behind them."""
    graph = copy.deepcopy(model.graph)
    for node in graph.find_nodes(op="call_module"):
        layer = model.get_submodule(node.target)
        if type(layer) in TO_TORCH:
            _unfuse(graph, node, layer)
    _put(model, graph, changes)


def _fuse(
    model: fx.GraphModule,
    graph: fx.Graph,
    nodes: list[fx.Node],
    shapes: dict[str, Any],
    changes: Edit,
) -> Fusion:
    """Fuse what follows the one call of a layer."""
    if len(nodes) != 1:
        return Fusion(False, f"it is called at {len(nodes)} places")
    [node] = nodes
    layer = model.get_submodule(node.target)
    if has_hooks(layer):
        return Fusion(False, HOOKED)
    addition, residual = _addition(node, shapes)
    last = addition or node
    activation = _only_user(last)
    options = _activation(model, activation) if activation else None
    if activation is None or options is None:
        activation, options = None, {}
    done = [step for step in (addition, activation) if step]
    if not done:
        return Fusion(False, "what follows it is no addition or activation of its own")
    for name, value in options.items():
        changes.set_attribute(layer, name, value)
    with graph.inserting_before(done[-1]):
        merged = graph.call_module(node.target, (*node.args, *([residual] if residual else [])))
    done[-1].replace_all_uses_with(merged)
    shapes[merged.name] = shapes[node.name]
    for step in (*reversed(done), node):
        graph.erase_node(step)
    words = ["the addition"] * bool(addition) + [str(word) for word in (options.get("activation"),) if word]
    return Fusion(True, " and ".join(words))


def _addition(node: fx.Node, shapes: dict[str, Any]) -> tuple[fx.Node, fx.Node] | tuple[None, None]:
    """Return the addition that alone follows a layer's call, and what it adds."""
    nothing = (None, None)
    user = _only_user(node)
    in_place = user is not None and user.target in _ADDITIONS_IN_PLACE
    if user is None or not (in_place or user.target in _ADDITIONS):
        return nothing
    if user.kwargs or len(user.args) != 2 or not all(isinstance(a, fx.Node) for a in user.args):
        return nothing
    first, second = user.args
    residual = second if first is node else first
    if in_place and first is not node and _only_user(first) is None:
        return nothing  # others see the sum as well
    if _only_user(node.args[0]) is None:
        return nothing  # the layer moves down to the addition, and its input may have changed there
    if residual is node or shapes[residual.name] != shapes[node.name]:
        return nothing
    return user, residual


def _activation(model: fx.GraphModule, node: fx.Node) -> dict[str, Any] | None:
    """Return the options of our layer that do what a node does, if there are any."""
    if node.op == "call_module":
        module = model.get_submodule(node.target)
        return None if has_hooks(module) else activation_of(module)
    word = _FUNCTIONS.get(node.target) if node.op != "get_attr" else None
    if word == "leaky_relu":
        arguments_ = dict(zip(("negative_slope", "inplace"), node.args[1:], strict=False))
        slope = {**arguments_, **node.kwargs}.get("negative_slope", 0.01)
        return activation_of(nn.LeakyReLU(slope)) if isinstance(slope, float) else None
    return None if word is None else {"activation": word}


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _unfuse(graph: fx.Graph, node: fx.Node, layer: nn.Module) -> None:
    added: list[fx.Node] = []
    x, *rest = (*node.args, *node.kwargs.values())
    node.args, node.kwargs = (x,), {}
    for residual in rest:
        with graph.inserting_after(node):
            added.append(graph.call_function(operator.add, (node, residual)))
    if layer.activation is not None:
        slope = (layer.negative_slope,) if layer.activation == "leaky_relu" else ()
        function = getattr(F, layer.activation)
        last = added[-1] if added else node
        with graph.inserting_after(last):
            added.append(graph.call_function(function, (last, *slope)))
    if added:
        node.replace_all_uses_with(added[-1], lambda user: user not in added)


def _put(model: fx.GraphModule, graph: fx.Graph, changes: Edit) -> None:
    """Give the model another graph, and take away the modules that it calls no more."""
    before = model.graph
    changes.on_undo(lambda: setattr(model, "graph", before))
    graph.lint()
    model.graph = graph
    for name in _called(before) - _called(graph):
        changes.remove(name)


def _called(graph: fx.Graph) -> set[str]:
    return {str(node.target) for node in graph.find_nodes(op="call_module")}


class _Shapes(fx.Interpreter):
    """Runs a graph and keeps the shape and dtype of every node's tensor."""

    def __init__(self, model: fx.GraphModule) -> None:
        super().__init__(copy.deepcopy(model))
        self.found: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.found[n.name] = (value.shape, value.dtype)
        return value


def _shapes_of(model: fx.GraphModule, example_inputs: Any) -> dict[str, Any]:
    args, kwargs = arguments(example_inputs)
    runner = _Shapes(model)
    inputs = [node for node in model.graph.nodes if node.op == "placeholder"]
    given = dict(zip((node.target for node in inputs), args, strict=False)) | kwargs
    with torch.no_grad():
        runner.run(*(given.get(node.target, *node.args) for node in inputs))
    return runner.found
