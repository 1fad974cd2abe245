"""The gap of layers whose statistics are off by a known amount."""

import numpy as np
import pytest
import torch
from torch import nn

import batchnorm
from batchnorm.errors import CountError, MeasurementError
from batchnorm.measure import evaluation_gap
from batchnorm.surgery import recalibrate

FAMILIES = [nn, batchnorm.nn]
both_families = pytest.mark.parametrize("family", FAMILIES, ids=["torch", "ours"])


def give(layer, x, shift=0.0, scale=1.0):
    """Give a layer the statistics of `x`, off by `shift` and `scale` standard deviations."""
    dims = (0, *range(2, x.ndim))
    var, mean = torch.var_mean(x, dims, correction=0)
    layer.running_mean.copy_(mean + shift * var.sqrt())
    layer.running_var.copy_(scale**2 * var)


@both_families
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 1.0), (0.0, 2.0), (-1.0, 0.5)])
@pytest.mark.parametrize("shape", [(32, 3), (8, 3, 4, 5)])
def test_the_gap_of_a_layer_has_its_closed_form(family, shape, shift, scale):
    layer = (family.BatchNorm1d if len(shape) == 2 else family.BatchNorm2d)(3, eps=1e-12).double()
    x = torch.randn(shape, dtype=torch.float64) * 3 + 1
    give(layer, x, shift, scale)
    # y = z against y = (z - shift) / scale, for z of mean 0 and variance 1.
    expected = np.sqrt((1 - 1 / scale) ** 2 + (shift / scale) ** 2)
    record = evaluation_gap(layer, x)
    assert record.layers[0].gap == pytest.approx(expected, rel=1e-6, abs=1e-7)
    assert record.output == pytest.approx(expected, rel=1e-6, abs=1e-7)


@both_families
def test_the_layer_that_is_off_is_named_and_not_those_behind_it(family):
    model = nn.Sequential(
        family.BatchNorm1d(3), nn.Linear(3, 8), family.BatchNorm1d(8), nn.ReLU(),
        nn.Dropout(), family.BatchNorm1d(8),
    )  # fmt: skip
    x = torch.randn(4096, 3)
    model.eval()
    for _ in range(3):
        recalibrate(model, [x], layer_by_layer=True)
    assert max(layer.gap for layer in evaluation_gap(model, x).layers) < 1e-3
    model[2].running_mean += 2 * model[2].running_var.sqrt()
    record = evaluation_gap(model, x)
    assert record.worst == "2"
    gaps = {layer.name: layer.gap for layer in record.layers}
    assert gaps == {
        "0": pytest.approx(0, abs=1e-3),
        "2": pytest.approx(2, rel=1e-3),
        "5": pytest.approx(0, abs=1e-3),
    }
    assert record.output > 0.1


def test_exact_statistics_have_the_gap_of_the_noise():
    layer = nn.BatchNorm1d(200)  # whose buffers hold 0 and 1, exact for these data
    gaps = [evaluation_gap(layer, torch.randn(64, 200)).output for _ in range(20)]
    assert np.mean(gaps) == pytest.approx(np.sqrt(1.5 / 64), rel=0.05)


@both_families
def test_the_output_differs_as_between_training_and_evaluation(family):
    model = nn.Sequential(nn.Linear(3, 8), family.BatchNorm1d(8), nn.ReLU(), family.BatchNorm1d(8))
    x = torch.randn(32, 3)
    model.eval()
    evaluation = model(x)
    gap = evaluation_gap(model, x).output
    training = model.train()(x)
    assert gap == pytest.approx(((evaluation - training).norm() / training.norm()).item(), rel=1e-5)


def test_nothing_but_the_statistics_makes_a_gap():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            self.norm.num_batches_tracked += 1
            y = self.norm(x) * self.norm.num_batches_tracked
            return nn.functional.dropout(y, training=True)

    model, x = Noisy(), torch.randn(32, 3)
    give(model.norm, x)
    assert evaluation_gap(model, x).output < 1e-5


def test_options_of_our_layers_are_followed():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = batchnorm.nn.BatchNorm1d(3, activation="relu", debias=True)

        def forward(self, x, there):
            return {"y": self.norm(x, x * 0.5, mask=there), "n": there.sum()}

    model, x, there = Block(), torch.randn(16, 3, 5) + 2, torch.rand(16, 5) > 0.3
    model(x, there)  # debiased, one batch is exact but for the correction
    record = evaluation_gap(model, {"x": x, "there": there})
    assert record.layers[0].gap < 0.02
    assert record.output == record.layers[0].gap
    model.norm.debias = False
    assert evaluation_gap(model, {"x": x, "there": there}).layers[0].gap > 0.1


def test_layers_that_are_frozen_have_no_gap():
    model = nn.Sequential(*(batchnorm.nn.BatchNorm1d(3) for _ in range(3)), nn.BatchNorm1d(3))
    model[1].freeze()
    model[3].eval()
    x = torch.randn(32, 3) + 5
    record = evaluation_gap(model, x)
    assert [layer.name for layer in record.layers] == ["0", "2"]
    assert record.frozen == ("1", "3")
    model.eval()  # now that of "3" says nothing
    assert evaluation_gap(model, x).frozen == ("1",)


def test_a_shared_layer_counts_all_its_calls_and_an_uncalled_one_none():
    layer = nn.BatchNorm1d(3)
    model = nn.ModuleDict({"used": layer, "unused": nn.BatchNorm1d(3)})
    x = torch.randn(64, 3)
    x = (x - x.mean(0)) / x.var(0, correction=0).sqrt()
    record = evaluation_gap(model, x, forward=lambda m, x: [m["used"](x), m["used"](x + 1)])
    assert [found.name for found in record.layers] == ["used"]
    assert record.layers[0].gap == pytest.approx(np.sqrt(1 / 2), rel=1e-4)  # 0 and 1 together


def test_a_forward_that_returns_nothing():
    record = evaluation_gap(nn.BatchNorm1d(3), torch.randn(8, 3), forward=lambda m, x: m(x).size)
    assert record.output is None


def test_a_layer_whose_output_is_zero_is_not_the_worst():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    nn.init.zeros_(model[1].weight)
    record = evaluation_gap(model, torch.randn(8, 3) + 1)
    assert record.worst == "0"
    assert np.isnan(record.layers[1].gap)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(3, 3), "is needed, got 0 with statistics, 0 of them frozen: unfreeze"),
        (nn.BatchNorm1d(3, track_running_stats=False), "got 0 with statistics"),
        (batchnorm.nn.BatchNorm1d(3).freeze(), "got 1 with statistics, 1 of them frozen"),
    ],
)
def test_models_without_a_gap_are_refused(model, message):
    with pytest.raises(MeasurementError, match=message):
        evaluation_gap(model, torch.randn(8, 3))


@both_families
def test_one_value_per_channel_is_refused(family):
    with pytest.raises(CountError, match=r"got shape \(1, 3\) at layer '0': give a larger batch"):
        evaluation_gap(nn.Sequential(family.BatchNorm1d(3)), torch.randn(1, 3))
