"""Which step of a forward pass uses the result of which: the graph as it is, not as it is written.

`torch.export` follows the model once on tensors without values. It takes keyword arguments and
branches on shapes, and refuses what depends on values, so an edge that is found holds for every
input of these shapes. (`torch.fx.symbolic_trace` refuses most models of transformers, and takes the
wrong branch silently where a forward asks whether something is a tensor.)
"""

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from batchnorm._arguments import arguments, tensors
from batchnorm.errors import SurgeryError

from ._copy import copied, twin
from ._kinds import check_initialized
from ._moves import Move, move_of
from ._quiet import quiet

_WRAPPED = "model"
_SHAPE_OF_SECOND = frozenset(("reshape_as", "view_as", "expand_as"))


@dataclass(frozen=True)
class Call:
    """One step of the forward pass: a call of a module without parts, or a function.

    Attributes:
        index: its place in `Graph.calls`.
        op: torch's word for a single operation, in place or not: ``conv2d``, ``relu``, ``add``;
            ``module`` for a module that does several; ``input`` and ``output`` for the model's own.
        ops: the words of all its operations.
        module: qualified name of the module called, the first one where it has several; "" for a
            function.
        inputs: the steps whose results it takes, each once.
        users: the steps that take its result.
        shape: of its result, where that is one tensor.
        move: what it does to the place of values, where that is all it does.
    """

    index: int
    op: str
    ops: tuple[str, ...]
    module: str
    inputs: tuple[int, ...]
    users: tuple[int, ...]
    shape: tuple[int, ...] | None
    move: Move | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Graph:
    """The steps of a forward pass, in their order.

    Attributes:
        calls: the steps.
        exposed: names of modules whose parameters or buffers something else reads as well.
    """

    calls: tuple[Call, ...]
    exposed: frozenset[str]

    def calls_of(self, module: str) -> tuple[Call, ...]:
        """The calls of one module, by its first qualified name."""
        return tuple(call for call in self.calls if call.module == module)

    def only_user(self, call: Call) -> Call | None:
        """The step that takes this one's result, if it is the only one."""
        return self.calls[call.users[0]] if len(call.users) == 1 else None

    def only_input(self, call: Call) -> Call | None:
        """The step whose result this one takes, if it is the only one."""
        return self.calls[call.inputs[0]] if len(call.inputs) == 1 else None


def trace(model: nn.Module, example_inputs: Any) -> Graph:
    """Return the graph of a forward pass, in the modes that the modules have.

    Args:
        model: any module; a copy of it is followed, so that it is not touched.
        example_inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.

    Raises:
        SurgeryError: the forward pass depends on values, or cannot be followed otherwise; or the
            model cannot be copied.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
        >>> graph = trace(model.eval(), torch.zeros(2, 3))
        >>> [(call.op, call.module) for call in graph.calls]
        [('input', ''), ('linear', '0'), ('batch_norm', '1'), ('relu', '2'), ('output', '')]
        >>> graph.only_user(graph.calls_of("0")[0]).module
        '1'
    """
    wrapper = _Flat(copied(model))
    args, kwargs = arguments(example_inputs)
    try:
        with torch.no_grad(), quiet():
            program = torch.export.export(wrapper, args, kwargs, strict=False)
    except Exception as error:
        raise SurgeryError(
            "a forward pass that torch.export can follow is needed, got "
            f"{type(error).__name__} ({_first_line(error)}): name the modules yourself, "
            "or make what depends on values independent of them"
        ) from error
    return _Reader(wrapper, program).graph()


def trace_both(model: nn.Module, example_inputs: Any) -> list[Graph]:
    """Return the graphs of the forward passes in training and in evaluation.

    Args:
        model: any module; not touched.
        example_inputs: as for `trace`.

    Raises:
        SurgeryError: as `trace`, or the model has lazy modules that have seen no input.
    """
    check_initialized(model)
    return [trace(twin(model, training=mode), example_inputs) for mode in (True, False)]


class _Flat(nn.Module):
    """A model that returns its tensors as a tuple: export refuses containers it does not know."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        return tuple(tensors(self.model(*args, **kwargs)))


@dataclass
class _Step:
    """A call while its nodes are collected."""

    module: str
    nodes: list[fx.Node] = field(default_factory=list)
    ops: list[str] = field(default_factory=list)
    inputs: dict[int, None] = field(default_factory=dict)
    users: dict[int, None] = field(default_factory=dict)
    results: dict[fx.Node, None] = field(default_factory=dict)  # that other steps take


class _Reader:
    """Collects the nodes of an exported program into steps."""

    def __init__(self, wrapper: nn.Module, program: torch.export.ExportedProgram) -> None:
        self._wrapper = wrapper
        self._nodes = program.graph.nodes
        signature = program.graph_signature
        self._state = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._constants = signature.inputs_to_lifted_tensor_constants
        self._names: dict[nn.Module, str] = {m: name for name, m in wrapper.named_modules()}
        self._steps: list[_Step] = []
        self._index: dict[str, int] = {}  # of a module call's key, or of a function's node
        self._step_of: dict[fx.Node, int] = {}

    def graph(self) -> Graph:
        for node in self._nodes:
            if node.op != "get_attr" and node.name not in {**self._state, **self._constants}:
                self._add(node)
        exposed = frozenset(map(_without_prefix, self._exposed())) - {""}
        return Graph(tuple(self._call(index) for index in range(len(self._steps))), exposed)

    def _add(self, node: fx.Node) -> None:
        key, module = self._owner(node)
        index = self._index.setdefault(key, len(self._steps))
        if index == len(self._steps):
            self._steps.append(_Step(module))
        step = self._steps[index]
        self._step_of[node] = index
        for source in _sources(node):
            if self._step_of.get(source, index) != index:
                step.inputs[self._step_of[source]] = None
                self._steps[self._step_of[source]].users[index] = None
                self._steps[self._step_of[source]].results[source] = None
        if not (module and node.target is operator.getitem):
            step.ops.append(_word(node))
            step.nodes.append(node)

    def _call(self, index: int) -> Call:
        step = self._steps[index]
        op = step.ops[0] if len(step.ops) == 1 else "module"
        name = _without_prefix(step.module)
        edges = tuple(step.inputs), tuple(step.users)
        move = move_of(op, step.nodes[0]) if step.nodes else None
        return Call(index, op, tuple(step.ops), name, *edges, _shape(step.results), move)

    def _owner(self, node: fx.Node) -> tuple[str, str]:
        """Return what makes the call unique, and the name of its module, if any."""
        for key, (path, _) in node.meta.get("nn_module_stack", {}).items():
            module = self._wrapper.get_submodule(path)
            if _is_whole(module):
                return key, self._names[module]
        return node.name, ""

    def _exposed(self) -> Iterator[str]:
        """Yield the modules whose state is read by a step that is no call of theirs."""
        for node in self._nodes:
            if node.op == "placeholder" and node.name in self._state:
                owner = self._holder(self._state[node.name])
                readers = {self._steps[self._step_of[user]].module for user in node.users}
                if not readers <= {owner}:
                    yield from {owner} | readers

    def _holder(self, name: str) -> str:
        """Return the whole module that a parameter or buffer belongs to."""
        path = name.split(".")[:-1]
        for length in range(len(path)):
            module: nn.Module = self._wrapper.get_submodule(".".join(path[: length + 1]))
            if _is_whole(module):
                return self._names[module]
        return ""


def _is_whole(module: nn.Module) -> bool:
    """Whether a module is one step: it has no parts, or is a layer that may have some."""
    parts = {name for name, _ in module.named_children()} - {"parametrizations"}
    return not parts or isinstance(module, _NormBase | _ConvNd | nn.Linear)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")


def _sources(node: fx.Node) -> list[fx.Node]:
    """Return the nodes whose values a node takes."""
    if node.op == "call_function" and _word(node) in _SHAPE_OF_SECOND:
        return [source for source in node.args[:1] if isinstance(source, fx.Node)]
    return node.all_input_nodes


def _word(node: fx.Node) -> str:
    if node.op == "placeholder":
        return "input"
    if isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001 -- what export puts there
        name: str = node.target.overloadpacket.__name__
        return name.removesuffix("_")
    word: str = getattr(node.target, "__name__", node.op)
    return word


def _shape(results: Iterable[fx.Node]) -> tuple[int, ...] | None:
    values = [node.meta.get("val") for node in results]
    if len(values) == 1 and isinstance(values[0], Tensor):
        return tuple(values[0].shape)
    return None


def _without_prefix(name: str) -> str:
    return name.removeprefix(_WRAPPED).removeprefix(".")
