"""Activations whose distribution is known."""

from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import nn

import batchnorm
from batchnorm.errors import DataError, MeasurementError, OptionError
from batchnorm.measure import activations

NORMAL = NormalDist()


def normal(count, mean=0.0, std=1.0):
    """Return values at evenly spaced percentiles of a normal distribution, shuffled."""
    points = [NormalDist(mean, std).inv_cdf((n + 0.5) / count) for n in range(count)]
    return torch.tensor(points)[torch.randperm(count)]


def of_identity(x, **options):
    return activations(nn.Identity(), x, **options).of("")


def test_percentiles_of_normal_values():
    percentiles = (15, 50, 85, 97.5)
    x = torch.stack([normal(10_000), normal(10_000, mean=5.0, std=2.0)], dim=1)
    found = of_identity(x, percentiles=percentiles)
    z = np.array([NORMAL.inv_cdf(p / 100) for p in percentiles])
    np.testing.assert_allclose(found.of_unit(0), z, atol=1e-3)
    np.testing.assert_allclose(found.of_unit(1), 5 + 2 * z, atol=2e-3)
    assert found.unit_percentiles.shape == (4, 2)
    assert found.mean == pytest.approx(2.5, abs=1e-6)
    assert found.std == pytest.approx(np.sqrt((1 + 4) / 2 + 2.5**2), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7,), (6, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_all_values_and_all_units_as_numpy_has_them(shape, dtype):
    x = torch.randn(shape).to(dtype)
    found = of_identity(x)
    values = x.double().numpy()
    np.testing.assert_allclose(found.percentiles, np.percentile(values, (15, 50, 85)), rtol=1e-6)
    axes = tuple(axis for axis in range(len(shape)) if axis != 1)
    units = np.percentile(values, (15, 50, 85), axis=axes).reshape(3, -1)
    np.testing.assert_allclose(found.unit_percentiles, units, rtol=1e-6)
    assert found.mean == pytest.approx(values.mean(), abs=1e-12)
    assert found.std == pytest.approx(values.std(), rel=1e-12)


def test_units_may_be_in_another_dimension():
    x = torch.arange(24.0).reshape(2, 3, 4)
    found = of_identity(x, unit_dim=-1, percentiles=[0, 100])
    assert found.of_unit(1) == (1.0, 21.0)
    with pytest.raises(OptionError, match=r"got 3 for '' of shape \(2, 3, 4\): choose"):
        of_identity(x, unit_dim=3)


@pytest.mark.parametrize(
    ("nonlinearity", "inputs", "share"),
    [
        (nn.Sigmoid(), [-3.0, -2.9, 0.0, 2.9, 3.0], 2 / 5),  # its slope falls to a fifth at ±2.94
        (nn.Tanh(), [-1.5, -1.4, 0.0, 1.4, 1.5], 2 / 5),  # at ±1.47
        (nn.ReLU(), [-1.0, 0.0, 0.001, 9.0], 1 / 2),
        (nn.ReLU6(), [-1.0, 0.1, 5.9, 6.1], 1 / 2),
        (nn.Hardtanh(-2.0, 1.0), [-1.9, -2.1, 0.9, 1.0], 1 / 2),
        (nn.Hardsigmoid(), [-3.1, 0.0, 2.9, 3.1], 1 / 2),
        (nn.Softsign(), [-8.9, 0.0, 9.1], 1 / 3),
        (nn.GELU(), [-8.9, 0.0, 9.1], None),
        (nn.Linear(1, 1), [0.0, 0.0], None),
    ],
)
def test_saturation_is_where_the_nonlinearity_is_flat(nonlinearity, inputs, share):
    x = torch.tensor(inputs)[:, None]
    found = activations(nonlinearity, x).of("")
    assert found.saturated == (None if share is None else pytest.approx(share))
    assert activations(nonlinearity, x, of="input").of("").saturated is None


def test_our_layers_with_an_activation_saturate():
    x = torch.tensor([[-1.0], [-1.0], [2.0], [0.0]])
    layer = batchnorm.nn.BatchNorm1d(1, activation="relu")
    assert activations(layer, x).of("").saturated == 3 / 4
    assert activations(batchnorm.nn.BatchNorm1d(1), x).of("").saturated is None


def test_dead_units_give_the_same_everywhere():
    x = torch.randn(50, 4)
    x[:, 1] = -x[:, 1].abs()
    x[:, 2] = 7.0
    assert activations(nn.ReLU(), x).of("").dead == 2 / 4
    assert activations(nn.ReLU(), x, of="input").of("").dead == 1 / 4


def test_values_are_read_before_they_are_changed_in_place():
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), nn.Hardtanh(0.0, 0.5, inplace=True))
    x = torch.tensor([[-1.0], [1.0]])
    found = activations(model, x.clone())
    assert [module.mean for module in found.modules] == [0.0, 0.5, 0.25]
    inputs = activations(model, x.clone(), of="input")
    assert [module.mean for module in inputs.modules] == [0.0, 0.0, 0.5]


def test_each_call_of_a_shared_module_counts_for_itself():
    relu = nn.ReLU()
    model = nn.Sequential(relu, nn.Flatten(), relu)
    found = activations(model, torch.ones(2, 3, 4))
    assert [(m.name, m.call) for m in found.modules] == [("0", 0), ("1", 0), ("0", 1)]
    assert found.of("0", 0).unit_percentiles.shape == (3, 3)
    assert found.of("0", 1).unit_percentiles.shape == (3, 12)
    with pytest.raises(KeyError):
        found.of("0", 2)


def test_names_modes_and_batches():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Sequential(nn.Sigmoid()))
    batch = (torch.randn(64, 3), "target")
    assert [m.name for m in activations(model, batch).modules] == ["0", "1", "2.0"]
    names = ["2", "1"]
    assert [m.name for m in activations(model, batch, names).modules] == ["1", "2"]
    assert (activations(model, batch, ["1"]).of("1").unit_percentiles[1] == 0).any()
    dropped = [
        (activations(model, batch, ["1"], training=mode).of("1").percentiles[1])
        for mode in (False, True)
    ]
    assert dropped[0] != dropped[1] == 0.0
    keywords = activations(model, {"input": batch[0]}, training=False)
    own = activations(model, [batch], training=False, forward=lambda m, b: m(b[0][0]))
    assert keywords.as_dict() == own.as_dict()


def test_containers_and_whole_numbers():
    model = nn.Sequential(nn.Embedding(5, 3), nn.LSTM(3, 2))
    found = activations(model, torch.tensor([1, 2, 3]))
    assert [m.name for m in found.modules] == ["0", "1"]
    with pytest.raises(MeasurementError, match=r"got none for '0': name others"):
        activations(model, torch.tensor([1, 2, 3]), ["0", "1"], of="input")


def test_infinite_values_are_told_and_not_plotted():
    found = of_identity(torch.tensor([[1.0], [torch.inf], [2.0], [torch.inf]]))
    assert found.as_dict()["percentiles"][1:] == [None, None]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripted_modules_cannot_be_measured():
    model = nn.Sequential(nn.Linear(3, 3), torch.jit.script(nn.Sequential(nn.ReLU())))
    x = torch.ones(2, 3)
    assert [found.name for found in activations(model, x).modules] == ["0"]
    with pytest.raises(
        MeasurementError, match=r"not scripted are needed, got none for '1.0': name"
    ):
        activations(model, x, ["0", "1.0"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"percentiles": []}, OptionError, r"from 0 to 100, at least one, got \[\]: take"),
        ({"percentiles": [101]}, OptionError, r"from 0 to 100, at least one, got \[101\]: take"),
        ({"of": "gradient"}, OptionError, "of must be output or input, got 'gradient': choose"),
        ({"names": ["9"]}, OptionError, "modules of the model, got '9': take them from '', '0'"),
        ({"batch": ()}, DataError, "got an empty tuple: say how"),
        ({"forward": lambda *_: None}, MeasurementError, "got none for the whole model: name"),
    ],
)
def test_errors_at_the_door(options, error, message):
    batch = options.pop("batch", torch.ones(2, 3))
    with pytest.raises(error, match=message):
        activations(nn.Sequential(nn.ReLU()), batch, **options)
