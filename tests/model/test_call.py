from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch

from batchnorm._model._call import arguments, mapped, tensors
from batchnorm.errors import OptionError

A, B, C = torch.zeros(1), torch.ones(2), torch.ones(3)


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass
class Output:
    logits: Any
    rest: Any = None


@pytest.mark.parametrize(
    ("inputs", "args", "kwargs"),
    [
        (A, (A,), {}),
        ((A, 3), (A, 3), {}),
        ([A, {"k": B}], (A, {"k": B}), {}),
        (OrderedDict(x=A, flag=True), (), {"x": A, "flag": True}),
    ],
)
def test_example_inputs(inputs, args, kwargs):
    assert arguments(inputs) == (args, kwargs)


@pytest.mark.parametrize("inputs", [None, 3.0, "x"])
def test_other_inputs_are_refused(inputs):
    with pytest.raises(OptionError, match="needs to be a tensor, a tuple of arguments or a dict"):
        arguments(inputs)


@pytest.mark.parametrize(
    "output",
    [
        (A, B, C),
        [A, (B, [C])],
        {"a": A, "b": {"c": [B, None, 3]}, "d": C},
        Pair(A, Pair(B, C)),
        Output(A, Output(B, {"x": C})),
        Output((A, B), C),
    ],
)
def test_tensors_in_any_container_in_order(output):
    found = list(tensors(output))
    assert [id(tensor) for tensor in found] == [id(A), id(B), id(C)]


def test_mapped_keeps_containers_and_everything_else():
    found = mapped(((A, [B, "word"]), {"k": (C, None)}), lambda tensor: tensor.numel())
    assert found == ((1, [2, "word"]), {"k": (3, None)})
