"""Fusion in a `torch.fx.GraphModule`, whose graph can be rewritten.

There a function call can be given up as well as a module, an activation that several places share,
and the addition of a residual, which our layers take as a second argument.
"""

import copy
import operator
from collections.abc import Container
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from batchnorm._model._call import arguments
from batchnorm._model._edit import Edit
from batchnorm._model._find import activation_of, has_hooks
from batchnorm.errors import SurgeryError
from batchnorm.nn import Layer
from batchnorm.surgery._fuse._functions import function_of, options_of
from batchnorm.surgery._fuse._fused import HOOKED, Fusion, is_plain

_ADDITIONS = (operator.add, torch.add, "add")
_ADDITIONS_IN_PLACE = (operator.iadd, "add_")

Shapes = dict[str, tuple[torch.Size, torch.dtype]]


def fuse_graph(shapes: Shapes, model: nn.Module, changes: Edit) -> dict[nn.Module, Fusion]:
    """Let each layer of ours do the addition and the activation that alone follow it.

    Args:
        shapes: of the results of its nodes, as `shapes_of` returns them.
        model: a `torch.fx.GraphModule`; its graph is replaced by a rewritten copy.
        changes: undoes it.

    Returns:
        What became of every layer of ours that had no activation.
    """
    assert isinstance(model, fx.GraphModule)  # noqa: S101 -- the caller has asked
    shapes = dict(shapes)  # to which the merged calls are added
    graph = copy.deepcopy(model.graph)
    calls: dict[Layer, list[fx.Node]] = {m: [] for m in model.modules() if is_plain(m)}
    for node in _module_calls(graph):
        layer = _module(model, node)
        if is_plain(layer):
            calls[layer].append(node)
    found: dict[nn.Module, Fusion] = {}
    for layer, nodes in calls.items():
        follow = _follow(model, layer, nodes, shapes)
        if isinstance(follow, _Follow):
            _merge(graph, nodes[0], follow, shapes)
            for name, value in follow.options.items():
                changes.set_attribute(layer, name, value)
        found[layer] = Fusion(False, follow) if isinstance(follow, str) else follow.fusion()
    _put(model, graph, changes)
    return found


@torch.no_grad()
def shapes_of(model: fx.GraphModule, example_inputs: Any) -> Shapes:
    """Return the shape and the dtype of every node's result, by the node's name.

    Args:
        model: traced from a model; not touched.
        example_inputs: as for `trace`.
    """
    args, kwargs = arguments(example_inputs)
    inputs = list(model.graph.find_nodes(op="placeholder"))
    given = dict(zip((node.target for node in inputs), args, strict=False)) | kwargs
    runner = _Runner(copy.deepcopy(model))
    runner.run(*(given.get(node.target, *node.args) for node in inputs))
    return runner.found


def unfuse_graph(model: fx.GraphModule, places: Container[nn.Module], changes: Edit) -> None:
    """Have what our layers do besides normalizing done by function calls behind them.

    Args:
        model: traced from a model; its graph is replaced by a rewritten copy.
        places: layers whose activation has a module to go to.
        changes: undoes it.
    """
    graph = copy.deepcopy(model.graph)
    for node in _module_calls(graph):
        layer = _module(model, node)
        if isinstance(layer, Layer):
            _split(graph, node, layer, activated=layer not in places)
    _put(model, graph, changes)


def taking_residuals(model: fx.GraphModule) -> set[nn.Module]:
    """Return the layers of ours that a graph gives a residual.

    Args:
        model: traced from a model.
    """
    return {
        layer
        for node in _module_calls(model.graph)
        if isinstance(layer := _module(model, node), Layer) and _arguments(node).get("residual")
    }


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a layer's call by name."""
    return dict(zip(("input", "residual"), node.args, strict=False)) | node.kwargs


class _Follow(NamedTuple):
    """What follows a layer's call and can be done by the layer."""

    addition: fx.Node | None
    residual: fx.Node | None
    activation: fx.Node | None
    options: dict[str, Any]

    @property
    def steps(self) -> list[fx.Node]:
        return [node for node in (self.addition, self.activation) if node is not None]

    def fusion(self) -> Fusion:
        words = ["the addition"] if self.addition else []
        return Fusion(True, " and ".join([*words, *filter(None, [self.options.get("activation")])]))


def _follow(
    model: fx.GraphModule, layer: Layer, nodes: list[fx.Node], shapes: Shapes
) -> _Follow | str:
    """Return what the layer can do, or why there is nothing."""
    if len(nodes) != 1:
        return f"it is called at {len(nodes)} places"
    if has_hooks(layer):
        return HOOKED
    addition, residual = _addition(nodes[0], shapes)
    activation = _only_user(addition or nodes[0])
    options = _options(model, activation) if activation else None
    found = _Follow(addition, residual, activation if options else None, options or {})
    return found if found.steps else "neither an addition nor an activation alone follows it"


def _addition(node: fx.Node, shapes: Shapes) -> tuple[fx.Node | None, fx.Node | None]:
    """Return the addition that alone follows a layer's call, and what it adds."""
    nothing = None, None
    user = _only_user(node)
    residual = _other_term(node, user) if user else None
    if user is None or residual is None or len(node.args) != 1 or node.kwargs:
        return nothing  # also where the layer has a residual already
    if shapes.get(residual.name) != shapes.get(node.name):
        return nothing
    changed = user.target in _ADDITIONS_IN_PLACE and user.args[0] is residual
    if changed and _only_user(residual) is None:
        return nothing  # others see the sum as well
    if any(_only_user(source) is None for source in node.all_input_nodes):
        return nothing  # the layer moves to the addition, and its input may have changed till then
    return user, residual


def _other_term(node: fx.Node, user: fx.Node) -> fx.Node | None:
    """Return what a node adds to another, if it is an addition of two tensors."""
    if user.target not in (*_ADDITIONS, *_ADDITIONS_IN_PLACE) or user.kwargs:
        return None
    others = [term for term in user.args if term is not node]
    if len(user.args) != 2 or len(others) != 1:  # noqa: PLR2004 -- the two terms
        return None
    return others[0] if isinstance(others[0], fx.Node) else None


def _options(model: fx.GraphModule, node: fx.Node) -> dict[str, Any] | None:
    """Return the options of our layer that do what a node does, if there are any."""
    if node.op == "call_module":
        module = _module(model, node)
        return None if has_hooks(module) else activation_of(module)
    if node.op not in ("call_function", "call_method"):
        return None
    return options_of(node.target, node.args[1:], node.kwargs)


def _merge(graph: fx.Graph, node: fx.Node, follow: _Follow, shapes: Shapes) -> None:
    """Have one call do what the call of a layer and the steps behind it did."""
    last = follow.steps[-1]
    residual = () if follow.residual is None else (follow.residual,)
    with graph.inserting_before(last):
        merged = graph.call_module(str(node.target), (*node.args, *residual), node.kwargs)
    last.replace_all_uses_with(merged)
    shapes[merged.name] = shapes[node.name]
    for step in (*reversed(follow.steps), node):
        graph.erase_node(step)


def _split(graph: fx.Graph, node: fx.Node, layer: Layer, *, activated: bool) -> None:
    """Have the call of a layer only normalize, and functions do the rest behind it."""
    given = _arguments(node)
    if others := given.keys() - {"input", "residual"}:
        raise SurgeryError(
            "calls of a layer with an input and a residual are needed, got also "
            f"{', '.join(sorted(others))} of {node.target}: torch's layers cannot take that"
        )
    node.args, node.kwargs = (given["input"],), {}
    added: list[fx.Node] = []
    if given.get("residual") is not None:
        with graph.inserting_after(node):
            added.append(graph.call_function(operator.add, (node, given["residual"])))
    if activated and layer.activation is not None:
        last = added[-1] if added else node
        function, args, kwargs = function_of(layer)
        with graph.inserting_after(last):
            added.append(graph.call_function(function, (last, *args), kwargs))
    if added:
        node.replace_all_uses_with(added[-1], lambda user: user not in added)


def _put(model: fx.GraphModule, graph: fx.Graph, changes: Edit) -> None:
    """Give the model another graph, and take away the modules that it calls no more."""
    before = model.graph
    changes.on_undo(lambda: setattr(model, "graph", before))
    graph.lint()
    model.graph = graph
    left = {str(node.target) for node in _module_calls(graph)}
    for name in dict.fromkeys(str(node.target) for node in _module_calls(before)):
        if name not in left:
            changes.remove(name)


def _module_calls(graph: fx.Graph) -> list[fx.Node]:
    return list(graph.find_nodes(op="call_module"))


def _module(model: fx.GraphModule, node: fx.Node) -> nn.Module:
    return model.get_submodule(str(node.target))


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


class _Runner(fx.Interpreter):
    """Runs a graph and keeps the shape and dtype of every node's tensor."""

    def __init__(self, model: fx.GraphModule) -> None:
        super().__init__(model)
        self.found: Shapes = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.found[n.name] = (value.shape, value.dtype)
        return value
