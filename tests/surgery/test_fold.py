"""Folding changes no output, whatever linear map and whatever layer stand side by side."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

import batchnorm.nn as ours
from batchnorm._model._linear import is_linear_map
from batchnorm.surgery import Change, fold
from support.models.surgery import FrozenBatchNorm2d, Residual, UNet, settle, snapshot

BOUND = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05, torch.float16: 0.01}


@dataclass(frozen=True)
class Case:
    """A linear map and the shape of its input; normalization has the features of its output."""

    build: Callable
    features: tuple
    shape: tuple
    options: dict = field(default_factory=dict)

    def linear(self):
        return self.build(*self.features, **self.options)

    def __str__(self):
        return "-".join([self.build.__name__, *(f"{k}={v}" for k, v in self.options.items())])


MAPS = [
    Case(nn.Linear, (5, 6), (7, 5)),
    Case(nn.Linear, (6, 6), (7, 6), {"bias": False}),
    Case(nn.Conv1d, (4, 6, 3), (2, 4, 9)),
    Case(nn.Conv1d, (4, 6, 3), (2, 4, 9), {"padding": "same", "groups": 2}),
    Case(nn.Conv2d, (4, 6, 3), (2, 4, 7, 6), {"bias": False}),
    Case(nn.Conv2d, (6, 6, 3), (2, 6, 7, 6), {"groups": 6, "padding": 1, "stride": 2}),
    Case(nn.Conv2d, (6, 6, (3, 1)), (2, 6, 7, 6), {"groups": 3, "dilation": 2}),
    Case(nn.Conv2d, (4, 6, 3), (2, 4, 7, 6), {"padding": 1, "padding_mode": "reflect"}),
    Case(nn.Conv3d, (2, 6, 2), (2, 2, 4, 3, 3), {"padding": 1, "bias": False}),
    Case(nn.ConvTranspose1d, (6, 6, 3), (2, 6, 5), {"stride": 2, "output_padding": 1}),
    Case(nn.ConvTranspose2d, (6, 6, 3), (2, 6, 4, 5), {"groups": 2}),
    Case(nn.ConvTranspose2d, (6, 6, 3), (2, 6, 4, 5), {"groups": 3, "padding": 1, "bias": False}),
    Case(nn.ConvTranspose2d, (4, 6, 2), (2, 4, 4, 5), {"stride": 2}),
    Case(nn.ConvTranspose3d, (4, 6, 2), (2, 4, 2, 3, 3), {"groups": 2}),
]

# The same in front of the linear map, which may see nothing of the layer's shift at its borders.
MAPS_AFTER = [
    Case(nn.Linear, (6, 5), (7, 6)),
    Case(nn.Linear, (6, 6), (7, 6), {"bias": False}),
    Case(nn.Conv1d, (6, 4, 3), (2, 6, 9)),
    Case(nn.Conv2d, (6, 6, 3), (2, 6, 7, 6), {"groups": 3, "bias": False, "stride": 2}),
    Case(nn.Conv2d, (6, 4, 3), (2, 6, 7, 6), {"padding": 1, "padding_mode": "reflect"}),
    Case(nn.Conv2d, (6, 4, 3), (2, 6, 7, 6), {"padding": 1, "padding_mode": "replicate"}),
    Case(nn.Conv2d, (6, 4, 3), (2, 6, 7, 6), {"padding": 1, "padding_mode": "circular"}),
    Case(nn.Conv2d, (6, 4, 1), (2, 6, 7, 6), {"padding": "same"}),
    Case(nn.Conv3d, (6, 2, 2), (2, 6, 4, 3, 3)),
    Case(nn.ConvTranspose2d, (6, 4, 1), (2, 6, 4, 5), {"groups": 2, "padding": 1}),
]


def norms(ndim):
    """Every kind of layer for an input of `ndim` dimensions."""
    n = max(ndim - 2, 1)
    torchs, mine = getattr(nn, f"BatchNorm{n}d"), getattr(ours, f"BatchNorm{n}d")
    return {
        "torch": lambda: torchs(6),
        "plain": lambda: torchs(6, affine=False, eps=1e-2),
        "weight only": lambda: mine(6, bias=False),
        "ours": lambda: mine(6, eps=1e-3),
        "sync": lambda: nn.SyncBatchNorm(6),
        "ghost": lambda: getattr(ours, f"GhostBatchNorm{n}d")(6, 2),
        "renorm": lambda: getattr(ours, f"BatchRenorm{n}d")(6),
        **({"frozen": lambda: FrozenBatchNorm2d(6, 1e-3)} if ndim == 4 else {}),
    }


def folded(model, x, **options):
    """Fold, and check what holds for every fold; return the record."""
    before = model(x)
    kept = [p for m in model.modules() if is_linear_map(m) for p in m.parameters(recurse=False)]
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    record = fold(model, x, **options)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    after = model(x)
    assert after.dtype == before.dtype
    found, expected = after.double(), before.double()
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= BOUND[x.dtype]
    held = set(map(id, model.parameters()))
    assert all(id(parameter) in held for parameter in kept)
    return record


def chain(**modules):
    model = nn.Sequential()
    for name, module in modules.items():
        model.add_module(name, module)
    return settle(model).eval()


@pytest.mark.parametrize("case", MAPS, ids=str)
def test_after_a_linear_map(case):
    model = chain(linear=case.linear(), norm=norms(len(case.shape))["torch"]()).double()
    record = folded(model, torch.randn(case.shape, dtype=torch.float64))
    assert record.done == (Change("norm", "folded", "into linear"),)
    assert record.left == ()
    assert record.largest_error <= 1e-12
    assert type(model.norm) is nn.Identity
    assert not list(model.buffers())


@pytest.mark.parametrize("case", MAPS_AFTER, ids=str)
def test_before_a_linear_map(case):
    model = chain(norm=norms(len(case.shape))["torch"](), linear=case.linear()).double()
    record = folded(model, torch.randn(case.shape, dtype=torch.float64))
    assert record.done == (Change("norm", "folded", "into linear, which follows"),)
    assert type(model.norm) is nn.Identity


@pytest.mark.parametrize("case", [MAPS[0], MAPS[2], MAPS[10], MAPS[8]], ids=str)
def test_every_kind_of_layer(case):
    for kind, build in norms(len(case.shape)).items():
        model = chain(linear=case.linear(), norm=build()).double()
        record = folded(model, torch.randn(case.shape, dtype=torch.float64))
        assert len(record.done) == 1, kind
        assert record.largest_error <= 1e-12, kind


@pytest.mark.parametrize(
    "linear",
    [
        nn.Conv2d(6, 4, 3, padding=1),
        nn.Conv2d(6, 4, 3, padding="same"),
        nn.ConvTranspose2d(6, 4, 3),
        nn.ConvTranspose2d(6, 4, 2, stride=2),
        nn.ConvTranspose2d(6, 4, 1, stride=2),
        nn.ConvTranspose2d(6, 4, 1, dilation=2, output_padding=1),
    ],
    ids=str,
)
def test_before_a_linear_map_with_borders_only_without_a_shift(linear):
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    model = chain(norm=nn.BatchNorm2d(6), linear=linear).double()
    (left,) = fold(model, x).left
    assert left.detail.endswith("linear, which pads with zeros that the layer does not shift")
    with torch.no_grad():
        model.norm.running_mean.zero_()
        model.norm.bias.zero_()
    assert len(folded(model, x).done) == 1


@pytest.mark.parametrize("activation", ["relu", "silu", "leaky_relu"])
def test_the_activation_of_a_layer_stays(activation):
    norm = ours.BatchNorm2d(4, activation=activation, negative_slope=0.2)
    model = chain(linear=nn.Conv2d(3, 4, 3), norm=norm, second=nn.Conv2d(4, 4, 1)).double()
    folded(model, torch.randn(2, 3, 6, 6, dtype=torch.float64))
    kinds = {"relu": nn.ReLU, "silu": nn.SiLU, "leaky_relu": nn.LeakyReLU}
    assert type(model.norm) is kinds[activation]


def test_an_activation_between_keeps_a_layer_from_the_linear_map_behind_it():
    norm = ours.BatchNorm2d(3, activation="relu")
    model = chain(norm=norm, linear=nn.Conv2d(3, 4, 3))
    (left,) = fold(model, torch.randn(2, 3, 6, 6)).left
    assert "but through its own activation" in left.detail


@pytest.mark.parametrize("dtype", BOUND)
def test_every_dtype_is_rounded_once(dtype):
    model = chain(linear=nn.Linear(5, 6, bias=False), norm=nn.BatchNorm1d(6)).to(dtype)
    exact = copy.deepcopy(model).double()
    folded(model, torch.randn(8, 5).to(dtype))
    fold(exact, torch.randn(8, 5).double())
    assert torch.equal(model.linear.weight, exact.linear.weight.to(dtype))
    assert torch.equal(model.linear.bias, exact.linear.bias.to(dtype))


def test_statistics_in_float32_beside_weights_of_half_the_width():
    model = chain(linear=nn.Conv2d(3, 6, 3), norm=ours.BatchNorm2d(6))
    model.linear.bfloat16()
    assert len(folded(model, torch.randn(2, 3, 6, 6).bfloat16()).done) == 1
    assert model.linear.weight.dtype == model.linear.bias.dtype == torch.bfloat16


def test_layers_that_follow_one_another_all_vanish():
    model = chain(
        first_norm=nn.BatchNorm2d(3),
        second_norm=nn.BatchNorm2d(3),
        linear=nn.Conv2d(3, 4, 3),
        third_norm=nn.BatchNorm2d(4),
        fourth_norm=ours.BatchNorm2d(4, activation="relu"),
        fifth_norm=nn.BatchNorm2d(4),
    ).double()
    record = folded(model, torch.randn(2, 3, 6, 6, dtype=torch.float64))
    assert [c.module for c in record.left] == ["fifth_norm"]
    assert len(record.done) == 4


def test_frozen_layers_fold_in_a_model_that_trains():
    model = chain(linear=nn.Conv2d(3, 6, 3), norm=FrozenBatchNorm2d(6), drop=nn.Dropout())
    model.train()
    record = fold(model, torch.randn(2, 3, 6, 6))
    assert len(record.done) == 1
    assert model.training
    assert model.norm.training


def test_our_layers_frozen_and_debiased():
    norm = ours.BatchNorm2d(6, debias=True, activation="relu")
    norm(torch.randn(8, 6, 4, 4) + 50)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), norm.freeze(affine=True)).train()
    x = torch.randn(2, 3, 6, 6)
    before = model(x)
    assert len(fold(model, x).done) == 1
    torch.testing.assert_close(model(x), before)


def test_keyword_arguments_tuples_and_dataclasses():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

        def forward(self, x, scale=None, *, flag=False):
            assert isinstance(flag, bool)
            y = self.norm(self.linear(x))
            return {"y": (y if scale is None else y * scale), "rest": [None, 3, x.long()]}

    x, scale = torch.randn(5, 3), torch.randn(5, 1)
    for inputs in ((x,), [x, scale], {"x": x, "scale": scale, "flag": True}):
        assert len(fold(settle(Both()).eval(), inputs).done) == 1


@pytest.mark.parametrize("build", [lambda: Residual(4), UNet], ids=["residual", "unet"])
def test_networks(build):
    model = settle(build()).eval()
    x = torch.randn(2, 4 if isinstance(model, Residual) else 3, 8, 8)
    twin = copy.deepcopy(model).double()
    assert folded(model, x).left == ()
    assert folded(twin, x.double()).left == ()


def test_a_model_without_batch_normalization():
    model = nn.Sequential(nn.Linear(3, 3))
    before = snapshot(model)
    assert fold(model, torch.randn(2, 3)).changes == ()
    assert snapshot(model) == before


def test_an_optimizer_goes_on_with_the_folded_model():
    model = chain(linear=nn.Linear(3, 4), norm=nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fold(model, torch.randn(5, 3))
    before = [p.clone() for p in model.parameters()]
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_new_bias_learns_as_the_weight_does():
    for learns in (True, False):
        model = chain(linear=nn.Linear(3, 4, bias=False), norm=nn.BatchNorm1d(4))
        model.linear.weight.requires_grad_(learns)
        fold(model, torch.randn(5, 3))
        assert isinstance(model.linear.bias, nn.Parameter)
        assert model.linear.bias.requires_grad is learns


def test_a_shared_layer_with_two_names_is_replaced_under_both():
    model = chain(linear=nn.Linear(3, 4), norm=nn.BatchNorm1d(4))
    holder = nn.Module()
    holder.model, holder.again = model, model.norm
    holder.forward = model.forward
    record = fold(holder.eval(), torch.randn(5, 3))
    assert len(record.done) == 1
    assert holder.again is holder.model.norm
    assert type(holder.again) is nn.Identity


class Moving(nn.Module):
    """A linear map and a layer with a function between them."""

    def __init__(self, move, first, second):
        super().__init__()
        self.move, self.first, self.second = move, first, second

    def forward(self, x):
        return self.second(self.move(self.first(x)))


@pytest.mark.parametrize(
    ("first", "move", "second", "shape"),
    [
        (nn.Linear(3, 6), lambda y: y.transpose(1, 2), nn.BatchNorm1d(6), (2, 5, 3)),
        (nn.Linear(3, 6), lambda y: y.flatten(0, 1), nn.BatchNorm1d(6), (2, 5, 3)),
        (nn.Linear(3, 6), lambda y: y.reshape(-1, 6), nn.BatchNorm1d(6), (2, 5, 4, 3)),
        (nn.Linear(3, 6), lambda y: y.permute(0, 3, 1, 2), nn.BatchNorm2d(6), (2, 5, 4, 3)),
        (nn.Linear(3, 6), lambda y: y.mT.contiguous(), nn.BatchNorm1d(6), (2, 6, 3)),
        (nn.Conv1d(3, 6, 2), lambda y: y[:, :, :, None], nn.BatchNorm2d(6), (2, 3, 5)),
        (nn.Conv2d(3, 6, 1), lambda y: y.flatten(2), nn.BatchNorm1d(6), (2, 3, 6, 6)),
        (nn.Conv2d(3, 6, 4), lambda y: y.squeeze(), nn.BatchNorm1d(6), (2, 3, 4, 4)),
        (nn.Conv2d(3, 6, 1), lambda y: y[None], nn.BatchNorm2d(6), (3, 4, 4)),
        (nn.BatchNorm1d(6), lambda y: y.mT, nn.Linear(6, 3), (2, 6, 5)),
        (nn.BatchNorm2d(6), lambda y: y.flatten(1), nn.Linear(6, 3), (2, 6, 1, 1)),
        (nn.BatchNorm1d(6), lambda y: y.unflatten(2, (2, 3)), nn.Conv2d(6, 3, 1), (2, 6, 6)),
    ],
)
def test_values_that_are_only_moved(first, move, second, shape):
    """Features of the last dimension reach dimension 1, as in LeViT and in models of sequences."""
    model = settle(Moving(move, first, second)).eval().double()
    assert len(folded(model, torch.randn(shape, dtype=torch.float64)).done) == 1


def test_memory_format_is_kept():
    model = chain(linear=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4))
    model.to(memory_format=torch.channels_last)
    stride = model.linear.weight.stride()
    fold(model, torch.randn(2, 3, 6, 6).contiguous(memory_format=torch.channels_last))
    assert model.linear.weight.stride() == stride
