"""A recorded call, repeated on other tensors, gives what the function gives."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from batchnorm._model._replay import replay_of
from batchnorm._model._trace import trace

X, Y = torch.arange(6.0).reshape(2, 3), torch.ones(2, 3)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (torch.add, (X, Y), {"alpha": 2}),
        (torch.cat, ([X, Y, X], 1), {}),
        (torch.cat, (), {"tensors": (X, Y), "dim": 0}),
        (torch.Tensor.add_, (X, Y), {}),
        (F.dropout, (X, 0.5), {"training": False, "inplace": True}),
    ],
)
def test_it_gives_what_the_function_gives(function, args, kwargs):
    replay = replay_of(function, args, kwargs, {id(X): 3, id(Y): 5})
    others = {3: torch.full((2, 3), 7.0), 5: torch.full((2, 3), -1.0)}
    before = {index: tensor.clone() for index, tensor in others.items()}
    place = {id(X): others[3].clone(), id(Y): others[5].clone()}
    filled = torch.utils._pytree.tree_map(lambda leaf: place.get(id(leaf), leaf), (args, kwargs))
    assert torch.equal(replay(others), function(*filled[0], **filled[1]))
    assert all(torch.equal(others[index], before[index]) for index in others)
    assert replay.steps <= {3, 5}


def test_a_tensor_from_elsewhere_leaves_nothing_to_repeat():
    assert replay_of(torch.add, (X, Y), {}, {id(X): 3}) is None


def test_arguments_by_place_and_by_name_and_numbers():
    replay = replay_of(F.avg_pool1d, (X, 3), {"stride": 2, "ceil_mode": True}, {id(X): 0})
    assert (replay.argument(1, "kernel_size"), replay.argument(2, "stride")) == (3, 2)
    assert replay.argument(3, "padding", 0) == 0
    assert replay.numbers == (3, 2)


def test_the_graph_can_repeat_what_takes_results_only():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.shift = nn.Linear(3, 3), nn.Parameter(torch.ones(3))

        def forward(self, x):
            return (self.fc(x) + x * 2) - self.shift

    calls = {call.op: call for call in trace(Net(), X).calls}
    assert calls["linear"].replay is None
    assert calls["sub"].replay is None
    assert calls["add"].replay.steps == {calls["linear"].index, calls["mul"].index}
    assert torch.equal(calls["mul"].replay({0: Y}), 2 * Y)
