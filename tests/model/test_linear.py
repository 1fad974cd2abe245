"""Weights seen alike: as an explicit matrix, whatever torch's layout, groups and transposition."""

import pytest
import torch
from torch import nn

from batchnorm._model._affine import Affine
from batchnorm._model._linear import Weights, is_linear_map, mixes_borders

LAYERS = {
    "linear": (nn.Linear(4, 6), ()),
    "conv": (nn.Conv2d(4, 6, (3, 2)), (5, 4)),
    "groups": (nn.Conv1d(4, 6, 3, groups=2, bias=False), (7,)),
    "depthwise": (nn.Conv3d(4, 8, 2, groups=4), (2, 3, 2)),
    "transposed": (nn.ConvTranspose2d(4, 6, (3, 2), stride=2), (3, 4)),
    "transposed groups": (nn.ConvTranspose1d(4, 6, 3, groups=2, bias=False), (5,)),
}


def stored(layer, weights):
    """Return a copy of the layer with other weights."""
    twin = type(layer).__new__(type(layer))
    twin.__dict__ = {**vars(layer), "_parameters": {}}
    twin.weight = nn.Parameter(weights.stored(layer))
    twin.bias = nn.Parameter(weights.bias)
    return twin


def affine(channels):
    g = torch.Generator().manual_seed(0)
    return Affine(*torch.randn(2, channels, generator=g, dtype=torch.float64))


def column(vector, y):
    return vector.reshape(-1, *(1,) * (y.ndim - 2))


@pytest.mark.parametrize("name", LAYERS)
def test_read_and_stored_again_nothing_has_changed(name):
    layer = LAYERS[name][0].double()
    weights = Weights.of(layer)
    assert torch.equal(weights.stored(layer), layer.weight)
    expected = 0.0 if layer.bias is None else layer.bias
    assert (weights.bias == expected).all()


@pytest.mark.parametrize("name", LAYERS)
def test_then_an_affine_map(name):
    layer, space = LAYERS[name]
    layer = layer.double()
    x = torch.randn(2, 4, *space, dtype=torch.float64)
    y = layer(x)
    scale, shift = affine(y.shape[1])
    found = stored(layer, Weights.of(layer).then(Affine(scale, shift)))(x)
    torch.testing.assert_close(found, y * column(scale, y) + column(shift, y))


@pytest.mark.parametrize("name", LAYERS)
def test_after_an_affine_map(name):
    layer, space = LAYERS[name]
    layer = layer.double()
    x = torch.randn(2, 4, *space, dtype=torch.float64)
    scale, shift = affine(4)
    if mixes_borders(layer):
        shift = torch.zeros_like(shift)
    found = stored(layer, Weights.of(layer).after(Affine(scale, shift)))(x)
    torch.testing.assert_close(found, layer(x * column(scale, x) + column(shift, x)))


PADDED = {
    "not": nn.Conv2d(1, 1, 3),
    "zeros": nn.Conv2d(1, 1, 3, padding=1),
    "same": nn.Conv1d(1, 1, 3, padding="same"),
    "same of one tap": nn.Conv1d(1, 1, 1, padding="same"),
    "reflected": nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
    "circular": nn.Conv1d(1, 1, 3, padding=2, padding_mode="circular"),
    "transposed": nn.ConvTranspose2d(1, 1, 3),
    "transposed with gaps": nn.ConvTranspose1d(1, 1, 2, stride=3),
    "transposed of one tap": nn.ConvTranspose2d(1, 1, 1),
    "transposed of one tap, larger": nn.ConvTranspose1d(1, 1, 1, stride=2, output_padding=1),
}


@pytest.mark.parametrize("name", PADDED)
def test_a_constant_input_shows_where_borders_are_mixed(name):
    layer = PADDED[name]
    with torch.no_grad():
        layer.weight.fill_(1.0)
    y = layer(torch.ones(1, 1, *(6,) * (layer.weight.ndim - 2)))
    assert mixes_borders(layer) == bool((y != y.flatten()[0]).any())


def test_what_fits_a_dtype():
    layer = nn.Linear(2, 2).half()
    with torch.no_grad():
        layer.weight.fill_(4.0)
    scale, shift = torch.full((2,), 1.6e4), torch.zeros(2)
    assert Weights.of(layer).then(Affine(scale, shift)).fit(layer.weight.dtype)
    assert not Weights.of(layer).then(Affine(scale * 1.1, shift)).fit(layer.weight.dtype)
    assert not Weights.of(layer).then(Affine(scale * torch.nan, shift)).fit(layer.weight.dtype)


class Plain(nn.Conv2d):
    pass


class Standardized(nn.Conv2d):
    def forward(self, x):
        return super().forward(x / x.std())


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Conv1d(1, 1, 1), True),
        (nn.ConvTranspose3d(1, 1, 1), True),
        (Plain(1, 1, 1), True),
        (Standardized(1, 1, 1), False),
        (nn.Bilinear(1, 1, 1), False),
        (nn.Embedding(1, 1), False),
        (nn.BatchNorm1d(1), False),
    ],
)
def test_what_is_a_linear_map(module, expected):
    assert is_linear_map(module) is expected
