"""What is measured while a network trains: the same as the instruments say, and nothing changed."""

import copy

import pytest
import torch
from torch import nn

from batchnorm import measure
from batchnorm.lab import tasks
from batchnorm.lab.networks import mlp, vgg
from batchnorm.lab.probes import Landscape, Moment, Shift

TASK = tasks.load("digits")
SETTINGS = {"rate": 0.1, "nearest": 0.5, "farthest": 4.0, "width": 6}


def moment(network=vgg, rate=0.1, count=40, **kind):
    model = network(TASK, SETTINGS, torch.Generator().manual_seed(0), **kind).eval()
    x, y = TASK.train_x[:count], TASK.train_y[:count]
    return Moment(0, model, TASK, x, y, {**SETTINGS, "rate": rate})


def exact(now):
    model = copy.deepcopy(now.model).double()
    return model, (now.inputs.double(), now.targets)


@pytest.mark.parametrize("norm", [None, "batch"])
def test_the_landscape_is_the_instruments(norm):
    now = moment(norm=norm)
    found = Landscape().measure(now)
    model, batch = exact(now)
    steps = torch.logspace(torch.tensor(0.5).log2(), 2.0, 8, base=2.0, dtype=torch.float64).tolist()
    record = measure.loss_landscape(
        model, batch, TASK.loss, learning_rate=0.1, multiples=steps, training=True
    )
    assert (found["loss_low"], found["loss_high"]) == pytest.approx(record.loss_range)
    assert found["loss_range"] == pytest.approx(record.loss_range[1] - record.loss_range[0])
    assert found["loss"] == pytest.approx(record.loss)
    assert found["predictiveness"] == pytest.approx(record.gradient_predictiveness[1])
    assert found["smoothness"] == pytest.approx(record.effective_smoothness)
    assert set(found) == set(Landscape.fields)


def test_the_smoothness_of_a_parabola_is_its_curvature():
    class Parabola(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0, 2.0]))

        def forward(self, _):
            return self.w

    class Bowl:
        @staticmethod
        def loss(w, _):
            return 1.5 * w.square().sum()

    now = Moment(0, Parabola().eval(), Bowl(), torch.zeros(1, 1), torch.zeros(1), SETTINGS)
    found = Landscape().measure(now)
    assert found["smoothness"] == pytest.approx(3.0)
    assert found["loss"] == pytest.approx(7.5)
    assert found["loss_high"] == pytest.approx(7.5 * 0.85**2)  # w - 0.05 * 3 w


@pytest.mark.parametrize("norm", [None, "batch"])
def test_the_shift_is_the_instruments_over_the_maps_with_one_below(norm):
    now = moment(norm=norm)
    found = Shift().measure(now)
    model, batch = exact(now)
    maps = [n for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    layers = measure.internal_covariate_shift(
        model, batch, TASK.loss, learning_rate=0.1, names=maps, training=True
    ).layers[1:]
    assert found["distances"] == pytest.approx([layer.distance for layer in layers])
    assert found["cosines"] == pytest.approx([layer.cosine for layer in layers])
    middle = torch.tensor([layer.relative for layer in layers]).double().quantile(0.5)
    assert found["relative"] == pytest.approx(middle.item())
    assert set(found) == set(Shift.fields)


@pytest.mark.parametrize("probe", [Landscape, Shift])
def test_what_is_looked_at_stays_as_it_was(probe):
    now = moment(norm="batch")
    before = copy.deepcopy(now.model.state_dict())
    torch.manual_seed(3)
    state = torch.get_rng_state()
    probe().measure(now)
    assert torch.equal(torch.get_rng_state(), state)
    assert not now.model.training
    for name, value in now.model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("probe", [Landscape, Shift])
def test_a_gradient_that_is_not_finite_gives_no_numbers(probe):
    now = moment(mlp, activation=nn.ReLU)
    with torch.no_grad():
        now.model[0].weight.fill_(float("inf"))
    assert probe().measure(now) == dict.fromkeys(probe.fields)


def test_double_precision_sees_a_step_of_a_millionth():
    now = moment(mlp, activation=nn.ReLU, rate=1e-9)
    found = Shift().measure(now)
    assert 0 < found["relative"] < 1e-6
