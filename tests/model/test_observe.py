"""What a run shows of the modules, without leaving anything on them."""

import pytest
import torch
from torch import nn

from batchnorm._model._observe import observed
from support.models.surgery import snapshot


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.same = nn.Conv2d(2, 3, 1), nn.Identity()
        self.norm, self.twice = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
        self.unused, self.wide = nn.Linear(1, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.norm(input=self.same(self.conv(x)))
        y = self.twice(self.twice(y) + 1)
        return self.wide.double()(y.double())


def run(model):
    watched = [module for module in model.modules() if type(module) is not nn.Identity]
    with observed(model, watched[1:]) as seen:
        model(torch.randn(4, 2, 5, 5))
    return seen


def test_calls_shapes_and_sources():
    model = Net()
    seen = run(model)
    assert [s.calls for s in seen.values()] == [1, 1, 2, 0, 1]
    assert seen[model.conv].shape == (4, 3, 5, 5)
    assert seen[model.unused].shape == ()
    assert seen[model.norm].source is model.conv, "Identity hands the same tensor on"
    assert seen[model.twice].source is None, "its second call took a sum"
    assert seen[model.wide].source is None, "it took a tensor of another dtype"
    assert not any(s.onlookers for s in seen.values())


def test_a_result_that_is_taken_beside_another_has_no_single_source():
    class Bilinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.both = nn.Linear(2, 2), nn.Bilinear(2, 2, 2)

        def forward(self, x):
            y = self.first(x)
            return self.both(y, y)

    model = Bilinear()
    with observed(model, [model.first, model.both]) as seen:
        model(torch.randn(3, 2))
    assert seen[model.both].source is None


class Module(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.forward = forward


@pytest.mark.parametrize(
    ("forward", "call", "plain"),
    [
        (lambda x: x + 1, lambda m, x: m(x), True),
        (lambda input: input, lambda m, x: m(input=x), True),  # noqa: A006 -- as torch has it
        (lambda x: x, lambda m, x: m(x=x), False),
        (lambda x, y=None: x if y is None else y, lambda m, x: m(x, y=None), False),
        (lambda x: x.double(), lambda m, x: m(x), False),
        (lambda x, y: x + y, lambda m, x: m(x, x), False),
        (lambda x, flag: x * flag, lambda m, x: m(x, flag=True), False),
        (lambda x: (x, x), lambda m, x: m(x), False),
    ],
)
def test_a_plain_call_takes_the_input_alone_and_keeps_its_dtype(forward, call, plain):
    module = Module(forward)
    with observed(module, [module]) as seen:
        call(module, torch.randn(3, 2))
    assert seen[module].plain is plain
    assert seen[module].calls == 1


def test_onlookers_are_the_modules_with_hooks():
    model = Net()
    model.same.register_forward_hook(lambda *_: None)
    model.norm.register_full_backward_hook(lambda *_: None)
    seen = run(model)
    assert seen[model.conv].onlookers == {model.same, model.norm}
    assert seen[model.twice].onlookers == set()


def test_nothing_is_left_behind():
    model = Net()
    model.wide.double()
    before = snapshot(model)
    with pytest.raises(RuntimeError), observed(model, model.modules()):
        model(torch.randn(4, 3, 5, 5))
    assert snapshot(model) == before
