"""Noise of batches whose statistics are known, and of independent values."""

import numpy as np
import pytest
import torch
from torch import nn

import batchnorm
from batchnorm.errors import CountError, DataError, MeasurementError, OptionError
from batchnorm.measure import statistics_noise

FAMILIES = [nn, batchnorm.nn]
both_families = pytest.mark.parametrize("family", FAMILIES, ids=["torch", "ours"])


def noise_of(x, size, **options):
    return statistics_noise(nn.BatchNorm1d(x.shape[1]), x.split(size), **options).of("")


@both_families
def test_the_noise_is_the_standard_deviation_over_the_batches(family):
    x = torch.randn(12, 20, 3, 4) * torch.tensor([1.0, 2.0, 5.0])[:, None] + 7
    found = statistics_noise(family.BatchNorm1d(3), list(x)).of("")
    batches = x.double().numpy().transpose(0, 2, 1, 3).reshape(12, 3, -1)
    expected = batches.mean(2).std(0, ddof=1)
    np.testing.assert_allclose(found.mean_noise, expected, rtol=1e-5)
    expected = batches.var(2, ddof=1).std(0, ddof=1)
    np.testing.assert_allclose(found.variance_noise, expected, rtol=1e-5)
    np.testing.assert_allclose(
        found.std, x.double().transpose(0, 2).reshape(3, -1).std(1), rtol=1e-6
    )
    assert (found.batches, found.count) == (12, 80.0)


@pytest.mark.parametrize("size", [4, 32, 256])
def test_independent_values_have_the_noise_of_the_closed_form(size):
    x = torch.randn(40 * size, 500) * 3 - 1
    found = noise_of(x, size)

    def root_mean_square(noise):
        return noise.square().mean().sqrt().item()

    mean, variance = 3 / np.sqrt(size), 9 * np.sqrt(2 / (size - 1))
    for noise, expected, tolerance in [
        (found.independent_mean_noise, mean, 0.01),
        (found.mean_noise, mean, 0.02),
        (found.independent_variance_noise, variance, 0.02),
        (found.variance_noise, variance, 0.03),
    ]:
        assert root_mean_square(noise) == pytest.approx(expected, rel=tolerance)
    assert found.effective_count == pytest.approx(size, rel=0.04)


def test_positions_that_say_the_same_count_once():
    x = torch.randn(2000, 50, 1).expand(-1, -1, 49)
    found = noise_of(x, 20)
    assert found.count == 20 * 49
    assert found.effective_count == pytest.approx(20, rel=0.1)


def test_ragged_batches_count_by_their_size():
    """Values of batch b are μ_b ± 1, so that all statistics are exact."""
    means, sizes = [0.0, 1.0, 3.0], [2, 6, 4]
    batches = [
        mean + torch.tensor([[1.0], [-1.0]]).repeat(size // 2, 1)
        for mean, size in zip(means, sizes, strict=True)
    ]
    found = statistics_noise(nn.BatchNorm1d(1), batches).of("")
    centre = np.average(means, weights=sizes)
    squares = [size / 4 * (mean - centre) ** 2 for mean, size in zip(means, sizes, strict=True)]
    assert found.mean_noise.item() == pytest.approx(np.sqrt(sum(squares) / 2))
    assert found.count == 4.0
    assert found.std.item() == pytest.approx(torch.cat(batches).double().std().item())


@both_families
def test_in_training_a_layer_carries_the_noise_of_those_before_it(family):
    model = nn.Sequential(family.BatchNorm1d(8), family.BatchNorm1d(8))
    batches = torch.randn(512, 8).split(8)
    training = statistics_noise(model, batches, training=True)
    evaluation = statistics_noise(model, batches, training=False)
    assert training.of("1").mean_noise.max() < 1e-6  # the first layer has taken it out
    torch.testing.assert_close(
        evaluation.of("1").mean_noise, evaluation.of("0").mean_noise, rtol=1e-4, atol=0
    )
    assert statistics_noise(model, batches).of("1").mean_noise.max() < 1e-6
    assert statistics_noise(model.eval(), batches).as_dict() == evaluation.as_dict()


def test_masked_values_do_not_count():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = batchnorm.nn.BatchNorm1d(2)

        def forward(self, x, there):
            return self.norm(x, mask=there)

    x, there = torch.randn(8, 6, 2, 5), torch.rand(8, 6, 5) > 0.4
    whole = [{"x": part, "there": mask} for part, mask in zip(x, there, strict=True)]
    spoilt = [
        dict(batch, x=torch.where(batch["there"][:, None], batch["x"], 99.0)) for batch in whole
    ]
    assert (
        statistics_noise(Masked(), spoilt).as_dict() == statistics_noise(Masked(), whole).as_dict()
    )
    values = [part.movedim(1, -1)[mask].double() for part, mask in zip(x, there, strict=True)]
    found = statistics_noise(Masked(), whole).of("norm")
    assert found.count == pytest.approx(there.sum().item() / 8)
    np.testing.assert_allclose(found.std, torch.cat(values).std(0), rtol=1e-6)


def test_names_shared_layers_and_uncalled_ones():
    shared = nn.BatchNorm1d(3)
    model = nn.Sequential(shared, nn.BatchNorm1d(3), shared)
    batches = torch.randn(32, 3).split(8)
    found = statistics_noise(model, batches)
    assert [(layer.name, layer.count) for layer in found.layers] == [("0", 16.0), ("1", 8.0)]
    assert [layer.name for layer in statistics_noise(model, batches, names=["1"]).layers] == ["1"]
    pair = nn.ModuleDict({"a": nn.BatchNorm1d(3), "b": nn.BatchNorm1d(3)})
    only = statistics_noise(pair, batches, forward=lambda m, x: m["a"](x))
    assert [layer.name for layer in only.layers] == ["a"]
    with pytest.raises(MeasurementError, match="got none called among 'b': name others"):
        statistics_noise(pair, batches, names=["a", "b"], forward=lambda m, x: m["a"](x))


def test_every_mini_batch_meets_the_model_as_it_is():
    class Drifting(nn.BatchNorm1d):
        def forward(self, x):
            self.num_batches_tracked += 1
            return x + self.num_batches_tracked

    model, x = nn.Sequential(Drifting(3), nn.BatchNorm1d(3)), torch.randn(8, 3)
    found = statistics_noise(model, [x, x, x])
    assert found.of("0").mean_noise.max() < 1e-12
    assert found.of("1").mean_noise.max() < 1e-12


def test_a_constant_channel_has_no_noise_and_no_part_in_the_effective_count():
    x = torch.randn(4000, 40)
    x[:, 0] = 3.0
    found = noise_of(x, 20)
    assert found.mean_noise[0] == found.std[0] == 0
    assert found.effective_count == pytest.approx(20, rel=0.1)


LAYER = nn.BatchNorm1d(3)
REFUSED = {
    "tensor": (torch.randn(8, 3), {}, OptionError, "must be an iterable of batches, got a Tensor"),
    "one batch": ([torch.randn(8, 3)], {}, DataError, "at least two mini-batches are needed"),
    "no batch": ([], {}, MeasurementError, "got none called among '': name others"),
    "one value": (
        torch.randn(2, 3).split(1),
        {},
        CountError,
        r"more than one value per channel, got shape \(1, 3\) at layer '': give larger",
    ),
    "name": (torch.randn(8, 3).split(4), {"names": ["x"]}, OptionError, "layers, got 'x': take"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=list(REFUSED))
@pytest.mark.parametrize("training", [True, False])
def test_errors_at_the_door(refused, training):
    batches, options, error, message = refused
    with pytest.raises(error, match=message):
        statistics_noise(LAYER, batches, training=training, **options)
