"""What is borrowed comes back as it was."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from batchnorm._model._borrow import borrowed

# Scripting still works, and models in use are scripted.
SCRIPTED = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Restless(nn.Module):
    """Changes its buffers in every way a forward can."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("replaced", torch.ones(2))
        self.register_buffer("filled", None)
        self.register_buffer("emptied", torch.tensor([torch.nan, -0.0]))
        self.register_buffer("expanded", torch.ones(1).expand(3))
        self.times, self.last, self.average = 0, None, torch.zeros(3)

    def forward(self, x):
        self.times += 1
        self.last = x * torch.ones(3, requires_grad=True)
        self.average.mul_(0.9).add_(0.1 * x.mean(0))
        self.best = self.last.max()
        self.calls += 1
        self.replaced = torch.rand(2)
        self.filled = torch.rand(2)
        self.emptied = None
        self.register_buffer("new", x.detach())
        return x


def build():
    shared = nn.BatchNorm1d(3)
    return nn.Sequential(
        nn.BatchNorm1d(3),
        nn.Dropout(),
        shared,
        shared,
        torch.jit.script(nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())),
        Restless(),
        nn.Sequential(nn.BatchNorm1d(3).eval()),
    )


def snapshot(model):
    """Everything that must come back: modes, buffers as objects and as bits, hooks, randomness."""
    buffers = {
        (number, name): buffer
        for number, module in enumerate(model.modules())
        for name, buffer in module._buffers.items()
    }
    return {
        "modes": [module.training for module in model.modules()],
        "objects": [id(buffer) for buffer in buffers.values()],
        "bits": [b if b is None else b.numpy().tobytes() for b in buffers.values()],
        "names": list(buffers),
        "hooks": [len(module._forward_pre_hooks) for module in model.modules()],
        "with keywords": [
            len(module._forward_pre_hooks_with_kwargs)
            for module in model.modules()
            if hasattr(module, "_forward_pre_hooks_with_kwargs")
        ],
        "attributes": [
            (name, value if value is None or isinstance(value, int | float) else id(value))
            for module in model.modules()
            for name, value in sorted(vars(module).items())
        ],
        "average": model[5].average.tolist(),
        "random": torch.get_rng_state().numpy().tobytes(),
    }


def use(model, error):
    called = []
    with borrowed(model) as loan:
        loan.hook(model[0], lambda *arguments, **keywords: called.append((arguments, keywords)))
        model.train()
        model(torch.rand(4, 3))
        model[2].running_mean = None
        model[6][0].running_var.fill_(7.0)
        assert len(called) == 1
        if error is not None:
            raise error


@SCRIPTED
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_everything_comes_back(error):
    model = build()
    before = snapshot(model)
    with nullcontext() if error is None else pytest.raises(error):
        use(model, error)
    assert snapshot(model) == before


@SCRIPTED
def test_the_test_above_can_fail():
    model = build()
    before = snapshot(model)
    model[5].calls += 1
    changed = {key for key, value in snapshot(model).items() if value != before[key]}
    assert changed == {"bits"}


def test_a_loan_is_in_evaluation_mode_though_the_model_overrides_train():
    class Stubborn(nn.Sequential):
        def train(self, mode=True):
            raise AssertionError(mode)

    model = Stubborn(nn.Dropout(), nn.BatchNorm1d(2))
    with borrowed(model):
        assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("training", [True, False, None])
def test_a_loan_may_be_in_any_mode(training):
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    own = [module.training for module in model.modules()]
    with borrowed(model, training=training):
        lent = [module.training for module in model.modules()]
        assert lent == (own if training is None else [training] * 3)
    assert [module.training for module in model.modules()] == own


def test_outputs_can_be_watched():
    layer, seen = nn.Linear(2, 2), []
    with borrowed(layer) as loan:
        handle = loan.watch(layer, seen.append)
        y = layer(torch.ones(1, 2))
        handle.remove()
        layer(torch.ones(1, 2))
        loan.watch(layer, seen.append)
    layer(torch.ones(1, 2))
    assert len(seen) == 1
    assert seen[0] is y


@SCRIPTED
def test_buffers_can_be_restored_in_between():
    model = build()
    before = snapshot(model)
    with borrowed(model) as loan:
        lent = torch.get_rng_state()
        model(torch.rand(4, 3))
        loan.restore()
        now = snapshot(model)
        assert all(now[key] == before[key] for key in ("objects", "bits", "names"))
        assert not torch.equal(torch.get_rng_state(), lent)


def test_hooks_see_the_arguments_that_reach_the_module():
    layer = nn.BatchNorm1d(2)
    layer.register_forward_pre_hook(lambda _, arguments: tuple(x + 1 for x in arguments))
    x, seen = torch.zeros(3, 2), []
    with borrowed(layer) as loan:
        loan.hook(layer, lambda input: seen.append(input))  # noqa: A006, PLW0108 -- torch's name
        layer(x)
        layer(input=x)
    assert [tensor.sum().item() for tensor in seen] == [6.0, 0.0]


def test_rewinding_starts_the_same_random_numbers_again():
    with borrowed(nn.Identity()) as loan:
        first = torch.rand(3)
        loan.rewind()
        assert torch.equal(torch.rand(3), first)


def test_compiled_parts_call_the_hooks():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.ReLU())
    compiled = torch.compile(model, backend="eager")
    x, seen = torch.randn(4, 2), []
    compiled.eval()(x)  # what was compiled knows of no hook
    with borrowed(compiled) as loan:
        loan.hook(model[0], seen.append)
        compiled(x)
    assert len(seen) == 1


def test_a_buffer_that_changes_its_size_comes_back():
    """As in the observers of quantization."""
    model = nn.Module()
    model.register_buffer("least", torch.tensor([]))
    least = model.least
    with borrowed(model) as loan:
        for _ in range(2):
            model.least.resize_(2).fill_(3.0)
            loan.restore()
    assert model.least is least
    assert least.shape == (0,)
