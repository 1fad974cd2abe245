"""The laws that every network keeps, and the normalizations that torch does not have."""

from functools import partial
from itertools import product

import pytest
import torch
from torch import nn

from batchnorm.errors import OptionError
from batchnorm.lab import networks
from batchnorm.lab.networks import KINDS, _layers, _norm_layers
from batchnorm.lab.tasks import Task

SETTINGS = {"steps": 100, "width": 8, "depth": 3}


def task(shape=(3, 8, 8), outputs=10):
    features = torch.Size(shape).numel()
    x, y = torch.randn(6, features), torch.arange(6) % outputs
    return Task("made", "Made up", "none", outputs, shape, x, y, x, y)


NETWORKS = {
    "mlp": partial(networks.mlp, activation=nn.ReLU),
    "vgg": networks.vgg,
    "residual": networks.residual,
    "inception": networks.inception,
    "linear": networks.deep_linear,
}
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]


def build(name, norm, made, seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    return NETWORKS[name](made, {**SETTINGS, **settings}, generator, norm=norm)


@pytest.mark.parametrize(("name", "norm"), list(product(NETWORKS, [None, *KINDS])))
def test_every_arm_has_the_same_weights_and_gives_logits(name, norm):
    made = task()
    plain, other = build(name, None, made), build(name, norm, made)
    pairs = [
        [m.weight for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        for model in (plain, other)
    ]
    for one, theirs in zip(*pairs, strict=True):
        assert torch.equal(one, theirs)
    assert other(made.train_x).shape == (6, 10)
    other(made.train_x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in other.parameters())


@pytest.mark.parametrize(("name", "shape"), list(product(["vgg", "residual", "inception"], SHAPES)))
def test_images_of_every_size_fit(name, shape):
    made = task(shape)
    assert build(name, "batch", made)(made.train_x).shape == (6, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bias_that_the_normalization_would_take_away_is_left_out(name):
    first = [
        next(
            m for m in build(name, norm, task()).modules() if isinstance(m, (nn.Linear, nn.Conv2d))
        )
        for norm in (None, "batch")
    ]
    assert first[1].bias is None
    assert (first[0].bias is None) == (name == "linear")


def test_the_weights_follow_he_or_the_scale():
    made = task((1, 28, 28))
    free = build("mlp", None, made, width=400)[0].weight
    fixed = build("mlp", None, made, width=400, scale=0.3)[0].weight
    assert float(free.detach().std()) == pytest.approx((2 / 784) ** 0.5, rel=0.02)
    assert float(fixed.detach().std()) == pytest.approx(0.3, rel=0.02)


def test_a_deep_linear_network_is_a_chain_of_maps():
    made = task((10,))
    model = networks.deep_linear(made, {}, torch.Generator().manual_seed(0))
    assert len(model) == 25
    product_ = torch.eye(10)
    for layer in model:
        product_ = product_ @ layer.weight.T
    torch.testing.assert_close(model(made.train_x), made.train_x @ product_)


def test_the_switches_of_inception_are_seen():
    made = task()
    model = networks.inception(
        made,
        {**SETTINGS, "dropout": 0.4},
        torch.Generator(),
        activation=nn.Sigmoid,
        norm="batch",
        response=True,
    )
    kinds = [type(m) for m in model.modules()]
    assert nn.LocalResponseNorm in kinds
    assert nn.Dropout in kinds
    assert nn.ReLU not in kinds
    assert isinstance(_layers.last_nonlinearity(model), nn.Sigmoid)


def test_an_unknown_normalization_is_named():
    with pytest.raises(OptionError, match=r"a normalization out of batch, ghost, .* got 'l3'"):
        _norm_layers.normalization("l3", 4, 1, {})


@pytest.mark.parametrize("order", [1.0, 2.0, float("inf")])
@pytest.mark.parametrize("shape", [(50, 3), (10, 3, 4, 5)])
def test_a_power_norm_is_its_formula_in_training_and_running_in_evaluation(order, shape):
    layer = _norm_layers.PowerNorm(3, order, momentum=1.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
        layer.bias.copy_(torch.tensor([0.0, 1.0, 5.0]))
    x = 3 + torch.randn(shape)
    channels = x.transpose(0, 1).reshape(3, -1)
    size = torch.linalg.vector_norm(channels, order, dim=1)
    if order != float("inf"):
        size = size / channels.shape[1] ** (1 / order)
    expected = (channels - channels.mean(1, keepdim=True)) / (size[:, None] + 1e-5)
    expected = expected * layer.weight[:, None] + layer.bias[:, None]
    found = layer(x)
    torch.testing.assert_close(found.transpose(0, 1).reshape(3, -1), expected)
    torch.testing.assert_close(layer.eval()(x), found)
    assert set(layer.state_dict()) == {"weight", "bias", "running_mean", "running_norm"}


def test_the_noise_has_the_moments_of_algorithm_1_and_stops_in_evaluation():
    torch.manual_seed(0)
    noise, x = _norm_layers.ShiftingNoise(2), torch.zeros(500, 2)
    shifts = torch.stack([noise(x).mean(0) for _ in range(300)])
    assert shifts.abs().max() < 0.52
    assert float(shifts.std()) == pytest.approx((1 / 12) ** 0.5, rel=0.1)
    spread = torch.stack([(noise(x + 1) - noise(x)).mean() for _ in range(300)])
    assert float(spread.mean()) == pytest.approx(1 + 0.125, abs=0.1)
    within = noise(torch.zeros(20_000, 2))[:, 0]
    assert float(within.max() - within.min()) == pytest.approx(0.2, abs=0.001)
    assert torch.equal(noise.eval()(x + 3), x + 3)
