"""Recorder of a forward pass: which step takes the result of which.

Two of torch's modes watch the same run. The dispatcher's sees every operation with its tensors,
whatever calls it, so that no edge is missed; that of functions knows what the model's author wrote,
which gives a step its name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from batchnorm._model._graph import Graph, Step
from batchnorm._model._replay import Replay, replay_of, tensors_in

# What the operators of Python do, in torch's words.
_OPERATORS = {
    "iadd": "add",
    "radd": "add",
    "isub": "sub",
    "imul": "mul",
    "rmul": "mul",
    "truediv": "div",
    "itruediv": "div",
    "rtruediv": "div",
    "rmatmul": "matmul",
}


@dataclass
class _Step:
    """A call while it is recorded; `index` is that in the graph, once it has done something."""

    module: str = ""
    op: str = ""  # of a step that is no function
    index: int = -1
    functions: list[Callable[..., Any]] = field(default_factory=list)
    replay: Replay | None = None  # of the only function
    inputs: dict[int, None] = field(default_factory=dict)
    users: dict[int, None] = field(default_factory=dict)
    results: dict[int, Tensor] = field(default_factory=dict)  # that other steps take
    written: set[int] = field(default_factory=set)  # identities of tensors it changed in place


class Recorder:
    """Records one run of a model.

    Args:
        model: what will run.
    """

    def __init__(self, model: nn.Module) -> None:
        self._names = {module: name for name, module in model.named_modules()}
        self._owners = {id(tensor): owner for owner, tensor in _state(model, self._names)}
        self._readers: dict[int, set[str]] = {}
        self._steps: list[_Step] = []
        self._maker: dict[int, int] = {}  # step that made a tensor, by the tensor's identity
        self._writer: dict[int, int] = {}  # step that last wrote to a memory
        self._kept: list[Tensor] = []  # so that no identity is used twice
        self._module: tuple[nn.Module, _Step] | None = None
        self._function: _Step | None = None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what runs inside; leaves its hooks on the model."""
        for module in self._names:
            if _is_whole(module) and not isinstance(module, torch.jit.ScriptModule):
                module.register_forward_pre_hook(self._enter, prepend=True)
                module.register_forward_hook(self._leave)
        with _Functions(self), _Operations(self):
            yield

    def add(self, op: str, tensors: list[Tensor]) -> None:
        """Add a step that gives or takes these tensors: an ``input`` or the ``output``."""
        step = self._placed(_Step(op=op))
        for tensor in tensors:
            if op == "input":
                self._make(step, tensor)
            else:
                self._read(step, tensor)

    def graph(self) -> Graph:
        """Return what was recorded."""
        exposed = set[str]()
        for tensor, readers in self._readers.items():
            if not readers <= {self._owners[tensor]}:
                exposed |= readers | {self._owners[tensor]}
        return Graph(tuple(map(_call, self._steps)), frozenset(exposed - {""}))

    def function(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call a function of torch, as part of a module's call or as a step of its own."""
        step = self._module[1] if self._module else _Step()
        self._function = step
        makers = {id(leaf): self._maker_of(leaf) for leaf in tensors_in((args, kwargs))}
        result = function(*args, **kwargs)
        given = {id(leaf): leaf for leaf in tensors_in((args, kwargs))}
        made = tensors_in(result)
        if made or (step.index >= 0 and not self._module):  # as where an element is assigned
            self._placed(step).functions.append(function)
            step.replay = replay_of(function, args, kwargs, makers)
        if isinstance(result, Tensor) and id(result) in given and id(result) not in step.written:
            self._read(step, result)
            result = torch.ops.aten.alias.default(result)  # so that the two can be told apart
        self._function = None
        if isinstance(result, tuple | list) and not self._module:
            self._take_apart(made)
        return result

    def operation(
        self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Note what an operation has read, made and changed in place."""
        step = self._function or (self._module[1] if self._module else _Step(op=_word(operator)))
        self._placed(step)
        read = tensors_in((args, kwargs))
        for tensor in read:
            self._read(step, tensor)
        for tensor in _written(operator, args, kwargs):
            step.written.add(id(tensor))
            self._writer[_memory(tensor)] = step.index
            self._make(step, tensor)
        known = set(map(id, read))
        for tensor in tensors_in(result):
            if id(tensor) not in known:
                self._make(step, tensor)

    def _take_apart(self, results: list[Tensor]) -> None:
        for tensor in results:
            part = self._placed(_Step(op="getitem"))
            self._read(part, tensor)
            self._make(part, tensor)

    def _placed(self, step: _Step) -> _Step:
        if step.index < 0:
            step.index = len(self._steps)
            self._steps.append(step)
        return step

    def _make(self, step: _Step, tensor: Tensor) -> None:
        self._maker[id(tensor)] = step.index
        self._kept.append(tensor)

    def _read(self, step: _Step, tensor: Tensor) -> None:
        if id(tensor) in self._owners:
            self._readers.setdefault(id(tensor), set()).add(step.module)
        maker = self._maker_of(tensor)
        if maker not in (-1, step.index):
            step.inputs[maker] = None
            self._steps[maker].users[step.index] = None
            self._steps[maker].results[id(tensor)] = tensor

    def _maker_of(self, tensor: Tensor) -> int:
        """Return the step whose result a tensor is, as it is now; -1 where there is none."""
        return max(self._maker.get(id(tensor), -1), self._writer.get(_memory(tensor), -1))

    def _enter(self, module: nn.Module, _: Any) -> None:
        if self._module is None:
            self._module = module, _Step(self._names[module], op="module")

    def _leave(self, module: nn.Module, _: Any, __: Any) -> None:
        if self._module is not None and self._module[0] is module:
            self._module = None


class _Functions(TorchFunctionMode):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._recorder.function(func, args, kwargs or {})


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch has no types here
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # as above
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._recorder.operation(func, args, kwargs or {}, result)
        return result


def _call(step: _Step) -> Step:
    words = tuple(map(_word, step.functions)) or (step.op,)
    single = len(words) == 1 and all(map(_is_torchs, step.functions))
    op = words[0] if single else "module"
    replay = step.replay if single and step.replay else None
    if replay is not None and replay.steps != set(step.inputs):
        replay = None  # it reads something past its arguments
    edges = tuple(step.inputs), tuple(step.users)
    shapes = [tuple(tensor.shape) for tensor in step.results.values()]
    shape = shapes[0] if len(shapes) == 1 else None
    return Step(step.index, op, words, step.module, *edges, shape, replay)


def _state(model: nn.Module, names: dict[nn.Module, str]) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers with the name of the whole module that they belong to."""
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        parts = path.split(".")[:-1]
        holders = (model.get_submodule(".".join(parts[:n])) for n in range(len(parts) + 1))
        yield next((names[holder] for holder in holders if _is_whole(holder)), ""), tensor


def _is_whole(module: nn.Module) -> bool:
    """Whether a module is one step: it has no parts, or is a layer that may have some."""
    parts = {name for name, _ in module.named_children()} - {"parametrizations"}
    return not parts or isinstance(module, _NormBase | _ConvNd | nn.Linear)


def _word(function: Any) -> str:
    """Return torch's word for a function or operator, in place or not."""
    name: str = getattr(function, "overloadpacket", function).__name__
    if name == "__get__":  # of a property
        name = function.__self__.__name__
    name = name.strip("_")
    return _OPERATORS.get(name, name)


def _is_torchs(function: Any) -> bool:
    return getattr(function, "namespace", "aten") == "aten"


def _written(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    for place, argument in enumerate(operator._schema.arguments):  # noqa: SLF001 -- no public name
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from tensors_in(given)


def _memory(tensor: Tensor) -> int:
    memory: int = tensor.untyped_storage()._cdata  # noqa: SLF001 -- a fake tensor has no address
    return memory
