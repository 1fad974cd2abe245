"""Tracing: the graph of a forward pass as it is, not as it is written.

The model runs once on tensors without values, and is recorded. It takes keyword arguments and
branches on shapes, and refuses what depends on values, so an edge that is found holds for every
input of these shapes. (`torch.fx.symbolic_trace` refuses most models of transformers, and takes the
wrong branch silently where a forward asks whether something is a tensor. `torch.export` gives the
same graph, but takes fifty times as long.)
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from batchnorm._model._call import arguments, mapped, tensors
from batchnorm._model._copy import copied
from batchnorm._model._find import TO_TORCH, check_initialized
from batchnorm._model._graph import Graph
from batchnorm._model._recorder import Recorder
from batchnorm.errors import SurgeryError
from batchnorm.nn import Layer


def trace(model: nn.Module, example_inputs: Any, *, training: bool | None = None) -> Graph:
    """Return the graph of a forward pass.

    Args:
        model: any module; a copy of it runs, so that it is not touched.
        example_inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.
        training: the mode to run in, as for `twin`; `None` leaves each module its own.

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
    call = arguments(example_inputs)
    fake = _Fake()
    copy = copied(model, fake.of)
    if training is not None and copy.training != training:
        copy.train(training)
    try:
        with fake.mode, _apart():
            return _recorded(copy, *mapped(call, fake.of))
    except Exception as error:
        _check_runs(model, example_inputs, training)
        raise SurgeryError(
            "a forward pass that runs on tensors without values is needed, got "
            f"{type(error).__name__} ({_first_line(error)}): name the modules yourself, "
            "or make what depends on values independent of them"
        ) from error


def _check_runs(model: nn.Module, example_inputs: Any, training: bool | None) -> None:
    """Refuse what does not run on tensors with values either."""
    copy = copied(model)
    if training is not None and copy.training != training:
        copy.train(training)
    args, kwargs = mapped(arguments(example_inputs), torch.clone)
    try:
        with _apart():
            copy(*args, **kwargs)
    except Exception as error:
        mode = "training" if copy.training else "evaluation"
        raise SurgeryError(
            f"example_inputs with which the model runs in {mode} are needed, got "
            f"{type(error).__name__} ({_first_line(error)}): give what its forward takes"
        ) from error


def trace_both(model: nn.Module, example_inputs: Any) -> list[Graph]:
    """Return the graphs of the forward passes in training and in evaluation.

    Args:
        model: any module; not touched.
        example_inputs: as for `trace`.

    Raises:
        SurgeryError: as `trace`, or the model has lazy modules that have received no input.
    """
    check_initialized(model, SurgeryError)
    return [trace(model, example_inputs, training=mode) for mode in (True, False)]


class _Fake:
    """Tensors without values, the same one for the same tensor."""

    def __init__(self) -> None:
        # Here, for it loads sympy, which takes four times as long as this package.
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        self.mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())

    def of(self, tensor: Tensor) -> Tensor:
        fake: Tensor = self.mode.from_tensor(tensor, static_shapes=True)
        return fake


def _recorded(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
    for module in model.modules():
        if isinstance(module, Layer) and type(module) in TO_TORCH:
            module.track_running_stats = False  # to update them would take most of the time
    recorder = Recorder(model)
    for tensor in tensors((args, kwargs)):
        recorder.add("input", [tensor])
    with recorder.recording():
        output = model(*args, **kwargs)
    recorder.add("output", list(tensors(output)))
    return recorder.graph()


@contextmanager
def _apart() -> Iterator[None]:
    """Keep a run from leaving traces: no gradient, no random number drawn, no warning."""
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # otherwise nothing is compiled, and it loads for long
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng([]))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        yield


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")
