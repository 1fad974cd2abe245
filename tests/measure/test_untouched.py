"""After any measurement the model is as it was, bit for bit, whatever happened inside."""

import copy
import warnings
from collections import OrderedDict
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import batchnorm
from batchnorm.measure import (
    Lanczos,
    activations,
    evaluation_gap,
    internal_covariate_shift,
    loss_landscape,
    norms,
    sharpness,
    statistics_noise,
)

FAMILIES = [nn, batchnorm.nn]
both_families = pytest.mark.parametrize("family", FAMILIES, ids=["torch", "ours"])


class Restless(nn.Module):
    """Does what models do to themselves in a forward; fails at a chosen call."""

    def __init__(self, family, fails_at=0, error=ValueError):
        super().__init__()
        shared = nn.ReLU(inplace=True)
        self.first = nn.Sequential(nn.Linear(4, 8, bias=False), family.BatchNorm1d(8), shared)
        self.second = nn.utils.spectral_norm(nn.Linear(8, 8))  # leaves its weight on the module
        self.norms = nn.ModuleList([family.BatchNorm1d(8), family.BatchNorm1d(8).eval()])
        self.third = parametrizations.weight_norm(nn.Linear(8, 8))
        self.drop = nn.Dropout(0.5)
        self.unused = nn.Linear(2, 2)
        self.follower = nn.Parameter(torch.randn(8), requires_grad=False)
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.register_buffer("replaced", torch.ones(2))
        self.register_buffer("filled", None)
        self.third.weight  # noqa: B018 -- computes it
        self.first[1].register_forward_hook(lambda _, __, output: output * 1.5)
        self._fails_at, self._error, self._log = fails_at, error, []

    @property
    def forwards(self):
        return len(self._log)

    def forward(self, x):
        self._log.append(1)
        if self.forwards == self._fails_at:
            raise self._error("in the middle")
        self.calls += 1
        self.replaced = torch.rand(2)
        self.filled = torch.rand(2)
        hidden = self.norms[0](self.second(self.first(x)))
        self.follower.data = self.follower.data.lerp(hidden.detach().mean(0), 0.5)
        self.follower.requires_grad_(True)
        return self.drop(self.norms[1](self.third(hidden)))


def build(family, **options):
    with warnings.catch_warnings(action="ignore"):  # of spectral_norm, that it will go
        model = Restless(family, **options)
    model(torch.randn(16, 4)).square().mean().backward()
    model._log.clear()
    model.first[0].weight.grad = None
    model.norms[0].weight.requires_grad_(False)
    model.follower.requires_grad_(False)
    model.third.bias.grad = torch.full_like(model.third.bias, torch.nan)
    return model


def bits(tensor):
    return None if tensor is None else (id(tensor), tensor.detach().clone().numpy().tobytes())


def snapshot(model):
    modules = list(model.modules())
    return {
        "state": {name: value.numpy().tobytes() for name, value in model.state_dict().items()},
        "buffers": [(n, bits(b)) for m in modules for n, b in m._buffers.items()],
        "parameters": [(n, bits(p)) for m in modules for n, p in m._parameters.items()],
        "gradients": [bits(p.grad) for p in model.parameters()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "left on modules": [
            bits(v) for m in modules for v in vars(m).values() if isinstance(v, torch.Tensor)
        ],
        "modes": [module.training for module in modules],
        "hooks": [
            (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks))
            for m in modules
        ],
        "random": torch.get_rng_state().numpy().tobytes(),
        "grad mode": torch.is_grad_enabled(),
    }


def pair():
    return torch.randn(16, 4), torch.randn(16, 8)


def mini_batches(x):
    yield from x.split(8)


few = Lanczos(max_products=4)
adam = partial(torch.optim.Adam, lr=0.1)
mse = nn.functional.mse_loss
INSTRUMENTS = {
    "shift": lambda m, b: internal_covariate_shift(m, b, mse, learning_rate=0.1),
    "shift by adam": lambda m, b: internal_covariate_shift(m, b, mse, optimizer=adam),
    "landscape": lambda m, b: loss_landscape(m, b, mse, learning_rate=0.1, training=True),
    "activations": lambda m, b: activations(m, b, ["first.1", "first.2"], training=True),
    "inputs": lambda m, b: activations(m, b, of="input"),
    "norms": lambda m, b: norms(m, b, mse, learning_rate=0.1, training=False),
    "sharpness": lambda m, b: sharpness(m, [b, b], mse, lanczos=few, training=True),
    "gap": evaluation_gap,
    "noise": lambda m, b: statistics_noise(m, mini_batches(b[0]), training=True),
}
every_instrument = pytest.mark.parametrize(
    "instrument", INSTRUMENTS.values(), ids=list(INSTRUMENTS)
)


@both_families
@every_instrument
def test_everything_is_as_before(family, instrument):
    model, batch = build(family), pair()
    before = snapshot(model)
    instrument(model, batch)
    assert model.forwards >= 1
    assert snapshot(model) == before


@every_instrument
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_everything_is_as_before_when_the_forward_raises_at_any_call(instrument, error):
    model, batch = build(nn), pair()
    instrument(model, batch)
    for call in {1, (model.forwards + 1) // 2, model.forwards}:
        model._fails_at, model._error = call, error
        model._log.clear()
        before = snapshot(model)
        with pytest.raises(error, match="in the middle"):
            instrument(model, batch)
        assert model.forwards == call
        assert snapshot(model) == before


@pytest.mark.parametrize("what", [
    "state", "buffers", "parameters", "gradients", "requires_grad", "left on modules", "modes",
    "hooks", "random",
])  # fmt: skip
def test_the_tests_above_can_fail(what):
    model = build(nn)
    before = snapshot(model)
    match what:
        case "state":
            model.first[0].weight.data[0, 0] += 1e-6
        case "buffers":
            model.calls += 1
        case "parameters":
            model.third.bias = nn.Parameter(model.third.bias.detach().clone())
        case "gradients":
            model.third.bias.grad = None
        case "requires_grad":
            model.unused.requires_grad_(False)
        case "left on modules":
            model.second.weight = model.second.weight.detach() + 0.1
        case "modes":
            model.norms[1].train()
        case "hooks":
            model.drop.register_forward_pre_hook(lambda *_: None)
        case "random":
            torch.rand(1)
    assert snapshot(model)[what] != before[what]


@every_instrument
def test_every_measurement_gives_the_same_again(instrument):
    model, batch = build(nn), pair()
    assert instrument(model, batch).as_dict() == instrument(model, batch).as_dict()


def plain(linear, family):
    first = nn.Sequential(linear, family.BatchNorm1d(8), nn.ReLU())
    return nn.Sequential(OrderedDict(first=first, second=nn.Linear(8, 8)))


@both_families
@every_instrument
@pytest.mark.parametrize("training", [True, False])
def test_a_backward_pass_that_waits_goes_on(family, instrument, training):
    model = plain(nn.Linear(4, 8), family).train(training)
    batch = pair()
    expected = torch.autograd.grad(mse(model(batch[0]), batch[1]), list(model.parameters()))
    loss = mse(model(batch[0]), batch[1])
    instrument(model, batch)
    loss.backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@every_instrument
def test_it_does_not_matter_whether_gradients_are_on(instrument, context):
    model, batch = build(nn), pair()
    expected, before = instrument(model, batch).as_dict(), snapshot(model)
    with context():
        found = instrument(model, batch).as_dict()
    assert found == expected
    assert snapshot(model) == before


def test_under_autocast_the_parameters_are_those_of_the_point_and_afterwards_those_of_the_model():
    """Within its context, autocast keeps the casts of parameters that are changed in place."""
    model, batch = plain(nn.Linear(4, 8), nn).eval(), pair()
    loss, measure = nn.functional.mse_loss, partial(loss_landscape, learning_rate=10.0)

    def forward(model, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(batch[0])

    expected = measure(model, batch, loss, forward=forward)
    assert expected.points[0].loss != pytest.approx(expected.loss, rel=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = model(batch[0])
        assert measure(model, batch, loss) == expected
        assert torch.equal(model(batch[0]), before)


def test_the_optimizer_of_the_model_is_as_before():
    model, batch = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8)), pair()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    mse(model(batch[0]), batch[1]).backward()
    optimizer.step()
    before, weights = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(model.state_dict())
    norms(model, batch, mse, optimizer=optimizer)
    internal_covariate_shift(model, batch, mse, optimizer=optimizer)
    torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)
    assert optimizer.param_groups[0]["params"][0] is model[0].weight


@pytest.mark.parametrize("name", ["norms", "gap"])
def test_compiled_and_wrapped_models_are_measured_as_the_model_inside(name):
    model, batch, instrument = build(nn), pair(), INSTRUMENTS[name]
    expected = instrument(model, batch).as_dict()
    compiled = torch.compile(model, backend="eager")
    assert instrument(compiled, batch).as_dict() == expected
    assert instrument(nn.DataParallel(model), batch).as_dict() == expected


@every_instrument
def test_lazy_modules_are_refused(instrument):
    model = plain(nn.LazyLinear(8), nn)
    with pytest.raises(
        batchnorm.errors.MeasurementError, match=r"got the lazy LazyLinear .*: pass one batch"
    ):
        instrument(model, pair())
