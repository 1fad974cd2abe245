"""Sizes of inputs: numbers in a forward that come from them, and change with them."""

from typing import Any

import torch
from torch import Tensor, nn

from batchnorm._model._call import changed
from batchnorm._model._graph import Graph
from batchnorm._model._trace import trace
from batchnorm.errors import SurgeryError
from batchnorm.surgery._fold._neutral import has_number


def varying_numbers(model: nn.Module, example_inputs: Any, graph: Graph) -> frozenset[int]:
    """Return the steps that add or multiply by a number which depends on the sizes of the inputs.

    The model is traced with larger inputs, in batch and in space, where it takes them.

    Args:
        model: in evaluation mode.
        example_inputs: with which `graph` was traced.
        graph: of the model.
    """
    calls = [call for call in graph.calls if has_number(call)]
    found = set[int]()
    for larger in (_more, _wider) if calls else ():
        try:
            other = trace(model, changed(example_inputs, larger)).calls
        except SurgeryError:
            continue  # of which it takes no other size
        if [call.op for call in other] != [call.op for call in graph.calls]:
            return frozenset(call.index for call in calls)
        for call in calls:
            twin = other[call.index].replay
            if call.replay is None or twin is None or call.replay.numbers != twin.numbers:
                found.add(call.index)
    return frozenset(found)


def _more(x: Tensor) -> Tensor:
    return torch.cat([x, x]) if x.ndim else x


def _wider(x: Tensor) -> Tensor:
    for dim in range(2, x.ndim):
        x = torch.cat([x, x], dim)
    return x
