"""Graph of a forward pass: its steps, and which step uses the result of which."""

from dataclasses import dataclass, field

from batchnorm._model._replay import Replay


@dataclass(frozen=True)
class Step:
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
        replay: the call itself, where it is one of a function and takes only these results.
    """

    index: int
    op: str
    ops: tuple[str, ...]
    module: str
    inputs: tuple[int, ...]
    users: tuple[int, ...]
    shape: tuple[int, ...] | None
    replay: Replay | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Graph:
    """The steps of a forward pass, in their order.

    Attributes:
        calls: the steps.
        exposed: names of modules whose parameters or buffers something else reads as well.
    """

    calls: tuple[Step, ...]
    exposed: frozenset[str]

    def calls_of(self, module: str) -> tuple[Step, ...]:
        """The calls of one module, by its first qualified name."""
        return tuple(call for call in self.calls if call.module == module)

    def only_user(self, call: Step) -> Step | None:
        """The step that takes this one's result, if it is the only one."""
        return self.calls[call.users[0]] if len(call.users) == 1 else None

    def only_input(self, call: Step) -> Step | None:
        """The step whose result this one takes, if it is the only one."""
        return self.calls[call.inputs[0]] if len(call.inputs) == 1 else None
