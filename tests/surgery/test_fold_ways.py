"""What stands between a layer and linear maps: passed where that is exact, left alone elsewhere."""

import re
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchnorm.nn as ours
from batchnorm.surgery import convert, fold
from support.models.foreign import BatchNormAct2d
from support.models.surgery import settle, snapshot

X = torch.randn(2, 4, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Three convolutions and a layer, joined by the function given; more can be added."""

    def __init__(self, join, channels=8, norm=nn.BatchNorm2d, **more):
        super().__init__()
        self.a = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.b, self.c = nn.Conv2d(4, 8, 1, groups=2), nn.ConvTranspose2d(4, 8, 1, groups=4)
        self.norm, self.join = norm(channels), join
        for name, module in more.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.join(self, x)


def past(module, channels=8):
    """Return a model with a module between a convolution and the layer."""
    return partial(Net, lambda m, x: m.norm(m.between(m.a(x))), channels, between=module)


def through(function, channels=8):
    """Return a model with a function there."""
    return partial(Net, lambda m, x: m.norm(function(m.a(x))), channels)


class Added(nn.Module):
    def forward(self, x, y):
        return x + y


def added_in_place(m, x):
    y = m.a(x)
    y += m.b(x)
    return m.norm(y)


def mobile(m, x):
    y = 0
    for branch in (m.a, m.b, m.c):
        y = y + branch(x)
    return m.norm(y)


def quantizable(m, x):
    return m.norm(m.between.add(m.a(x), m.b(x)))


ONE = {
    "dropout": past(nn.Dropout()),
    "dropout in place": past(nn.Dropout(inplace=True)),
    "dropout2d": past(nn.Dropout2d()),
    "alpha dropout": past(nn.AlphaDropout()),
    "feature alpha dropout": past(nn.FeatureAlphaDropout()),
    "identity": past(nn.Identity()),
    "average pooling": past(nn.AvgPool2d(2)),
    "average pooling of partial windows": past(nn.AvgPool2d(2, ceil_mode=True)),
    "average pooling that leaves padding out": past(
        nn.AvgPool2d(3, padding=1, count_include_pad=False)
    ),
    "adaptive average pooling": past(nn.AdaptiveAvgPool2d((5, 3))),
    "nearest": past(nn.Upsample(scale_factor=2)),
    "nearest exact": past(nn.Upsample(size=(13, 5), mode="nearest-exact")),
    "bilinear": past(nn.Upsample(scale_factor=1.7, mode="bilinear")),
    "bilinear with corners": past(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
    "bicubic": past(nn.Upsample(scale_factor=2, mode="bicubic")),
    "area": through(lambda y: F.interpolate(y, size=(3, 3), mode="area")),
    "antialiased": through(lambda y: F.interpolate(y, size=(4, 3), mode="bicubic", antialias=True)),
    "pixel shuffle": past(nn.PixelShuffle(2), 2),
    "channel shuffle": past(nn.ChannelShuffle(4)),
    "reflected": past(nn.ReflectionPad2d(2)),
    "functions": through(
        lambda y: F.avg_pool2d(F.dropout(F.adaptive_avg_pool2d(y, 6), 0.3, training=False), 3)
    ),
    "mean of a column": through(lambda y: y.mean(2, keepdim=True)),
    "cropped": through(lambda y: y[:, :, 1:-1, 2:]),
    "a number": through(lambda y: 3.0 - 0.5 * y / 4),
    "twice itself": through(lambda y: y + y),
    "to rows and back": through(lambda y: y.flatten(2).mT.mT.unflatten(2, (9, 8))),
    "channels flipped": through(lambda y: y.flip(1)),
}
SEVERAL = {
    "sum": (partial(Net, lambda m, x: m.norm(m.a(x) + m.b(x))), "a and b"),
    "sum in place": (partial(Net, added_in_place), "a and b"),
    "torch.add": (
        partial(Net, lambda m, x: m.norm(torch.add(m.a(x), m.b(x), alpha=-2))),
        "a and b",
    ),
    "difference": (partial(Net, lambda m, x: m.norm(m.a(x) - m.b(x))), "a and b"),
    "sum of three from zero": (partial(Net, mobile), "a and b and c"),
    "a module that adds": (
        partial(Net, lambda m, x: m.norm(m.between(m.a(x), m.b(x))), between=Added()),
        "a and b",
    ),
    "broadcast": (
        partial(Net, lambda m, x: m.norm(m.a(x.mean((2, 3), keepdim=True)) + m.b(x))),
        "a and b",
    ),
    "concatenation": (
        partial(Net, lambda m, x: m.norm(torch.cat([m.a(x), m.b(x)], 1)), 16),
        "a and b",
    ),
    "nested": (
        partial(
            Net,
            lambda m, x: m.norm(
                F.channel_shuffle(
                    torch.cat((m.a(x) - F.dropout2d(m.b(x), 0.5, False), m.c(x)), 1), 2
                )
            ),
            16,
        ),
        "a and b and c",
    ),
    "sum of poolings": (
        partial(
            Net, lambda m, x: m.norm(F.avg_pool2d(m.a(x), 3, 2, 1) + F.avg_pool2d(m.b(x), 1, 2))
        ),
        "a and b",
    ),
    "FloatFunctional": (
        partial(Net, quantizable, between=torch.ao.nn.quantized.FloatFunctional()),
        "a and b",
    ),
}  # fmt: skip


def exact(model, x=X):
    """Fold, and compare."""
    model = settle(model.double()).eval()
    expected = model(x)
    record = fold(model, x)
    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)
    return record


@pytest.mark.parametrize("case", ONE)
def test_a_linear_map_past_a_neutral_step(case):
    model = ONE[case]()
    record = exact(model)
    assert [(row.what, row.detail) for row in record.changes] == [("folded", "into a")]
    assert type(model.norm) is nn.Identity


@pytest.mark.parametrize("case", SEVERAL)
def test_several_linear_maps_together(case):
    build, into = SEVERAL[case]
    record = exact(build())
    assert [(row.what, row.detail) for row in record.changes] == [("folded", f"into {into}")]


@pytest.mark.parametrize("case", sorted({*ONE, *SEVERAL} - {"to rows and back"}))
def test_other_sizes_than_the_examples(case):
    model = settle((ONE.get(case) or SEVERAL[case][0])().double()).eval()
    x = torch.randn(3, 4, 11, 14, dtype=torch.float64)
    expected = model(x)
    assert len(fold(model, X).done) == 1
    torch.testing.assert_close(model(x), expected)


def test_other_dimensions():
    rows = nn.Sequential(nn.Conv1d(4, 6, 3), nn.AvgPool1d(2), nn.BatchNorm1d(6))
    volume = nn.Sequential(
        nn.Conv3d(4, 6, 1), nn.Upsample(scale_factor=2, mode="trilinear"), nn.BatchNorm3d(6)
    )
    vectors = nn.Sequential(
        nn.Conv2d(4, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(6)
    )
    for model, x in (
        (rows, X.flatten(2)),
        (volume, X.reshape(2, 4, 9, 4, 2)),
        (vectors, X),
        (nn.Sequential(nn.Linear(8, 6), nn.Dropout(), nn.BatchNorm1d(6)), X[0, 0]),
    ):  # fmt: skip
        assert len(exact(model, x).done) == 1


# -------------------------------------------------------------------------------- left alone


def below_zero(model):
    model.norm.weight.data[0] = -1.0
    return model


LEFT = {
    "padding counts": (
        past(nn.AvgPool2d(3, padding=1)),
        "its input comes from a, past which its scale and shift cannot be moved",
    ),
    "another divisor": (
        past(nn.AvgPool2d(2, divisor_override=4)),
        "comes from between .avg_pool2d",
    ),
    "zeros around": (past(nn.ZeroPad2d(1)), "its input comes from between .pad."),
    "dropout that is always on": (
        through(lambda y: F.dropout(y, 0.01)), "which draws random numbers in evaluation too",
    ),
    "a maximum below zero": (
        lambda: past(nn.MaxPool2d(2))(norm=Negative), "a scale of the layer is below",
    ),
    "a product": (
        partial(Net, lambda m, x: m.norm(m.a(x) * m.b(x))),
        "its input comes from a and b, past which",
    ),
    "a sum with the input": (
        partial(Net, lambda m, x: m.norm(m.a(x) + x.repeat(1, 2, 1, 1))),
        "its input comes from add, which takes in the model's input",
    ),
    "a term that serves others": (
        partial(Net, lambda m, x: m.norm(m.a(x) + (y := m.b(x))) * y),
        "its input comes from add, which takes in b .conv2d., which serves others too",
    ),
    "the sum serves others": (
        partial(Net, lambda m, x: m.norm(y := m.a(x) + m.b(x)) * y),
        "from add, which serves others",
    ),
    "a convolution called twice": (
        partial(Net, lambda m, x: m.norm(m.a(x) + m.a(x * 2))), "a, which is called more than once",
    ),
    "concatenated rows": (
        partial(Net, lambda m, x: m.norm(torch.cat([m.a(x), x.repeat(1, 2, 1, 1)], 2))),
        "takes in the model's input|takes in repeat",
    ),
    "channels taken twice": (
        partial(Net, lambda m, x: m.norm(torch.cat([(y := m.a(x)), y], 1)), 16),
        "another dimension",
    ),
    "channels become places": (
        through(lambda y: F.pixel_unshuffle(y[:, :, :8], 2), 32), "another dimension",
    ),
    "a number that is the size of the batch": (through(lambda y: y * len(y)), "comes from mul,"),
    "a number that is the number of places": (
        through(lambda y: y + y.shape[-1] ** -0.5),
        "its input comes from add,",
    ),
    "a parameter is added": (
        lambda: Net(lambda m, x: m.norm(m.a(x) + m.norm.bias[:, None, None])),
        "something else reads",
    ),
}  # fmt: skip


class Negative(nn.BatchNorm2d):
    """Starts with a scale below zero, which `settle` does not change."""

    def forward(self, x):
        return -super().forward(x)


@pytest.mark.parametrize("case", LEFT)
def test_left_alone_where_it_would_not_be_exact(case):
    build, reason = LEFT[case]
    model = settle(build().double()).eval()
    before = snapshot(model)
    (left,) = fold(model, X).left
    assert re.search(reason, left.detail), left.detail
    assert snapshot(model) == before


def test_a_padding_that_counts_lets_a_scale_pass_without_a_shift():
    model = settle(past(nn.AvgPool2d(3, padding=1))().double()).eval()
    with torch.no_grad():
        model.norm.running_mean.zero_()
        model.norm.bias.zero_()
    expected = model(X)
    assert len(fold(model, X).done) == 1
    torch.testing.assert_close(model(X), expected)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(3), nn.MaxPool2d(3, 2, 1)])
def test_maxima_where_no_scale_is_below_zero(pool):
    assert len(exact(past(pool)()).done) == 1


def test_dropout_that_may_train_is_left_where_it_is():
    model = Net(lambda m, x: m.norm(m.between(m.a(x))), norm=ours.BatchNorm2d, between=nn.Dropout())
    model.norm.freeze()
    (left,) = fold(settle(model.double()).train(), X).left
    assert "its input comes from between (dropout)" in left.detail
    assert len(exact(model).done) == 1


def test_hooks_anywhere_keep_what_may_be_seen():
    model = settle(SEVERAL["sum"][0]().double()).eval()
    model.c.register_forward_hook(lambda *_: None)
    (left,) = fold(model, X).left
    assert "a, but may be watched by a hook of c" in left.detail


def test_a_complex_convolution():
    model = nn.Sequential(nn.Conv2d(4, 4, 1, dtype=torch.complex64), Real(), nn.BatchNorm2d(4))
    (left,) = fold(settle(model).eval(), X[:, :, :2].to(torch.complex64)).left
    assert "its input comes from 1" in left.detail


class Real(nn.Module):
    def forward(self, x):
        return x.real


# ----------------------------------------------------------------------- layers before linear maps


FORWARD = {
    "dropout": (lambda: [nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 3, 3)], "2, which follows"),
    "pooling": (
        lambda: [nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3, groups=2)],
        "2, which follows",
    ),
    "flattened": (
        lambda: [nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 5)],
        "3, which follows",
    ),
    "maxima": (
        lambda: [nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Conv2d(4, 3, 1)],
        "2, which follows",
    ),
}


@pytest.mark.parametrize("case", FORWARD)
def test_a_layer_before_a_linear_map_past_neutral_steps(case):
    build, into = FORWARD[case]
    record = exact(nn.Sequential(*build()))
    assert [row.detail for row in record.done] == [f"into {into}"]


def test_a_layer_before_several_linear_maps():
    net = Net(lambda m, x: m.c(y := m.norm(x)).relu() + m.b(F.dropout(y, 0.1, False)), 4)
    (row,) = exact(net).changes
    assert row.detail == "into c and b, which follow"


def test_a_layer_among_what_is_concatenated_before_a_linear_map():
    net = Net(lambda m, x: m.last(torch.cat([x, m.norm(x)], 1)), 4, last=nn.Conv2d(8, 3, 1))
    (row,) = exact(net).changes
    assert row.detail == "into last, which follows"


@pytest.mark.parametrize(
    "join",
    [
        lambda m, x: m.b(m.norm(x) + x),
        lambda m, x: m.b(y := m.norm(x)) + y.mean(),
        lambda m, x: m.b(torch.cat([m.norm(x)[:, :2], x[:, :2]], 1) * x),
        lambda m, x: m.b(torch.cat([m.norm(x), x], 2)),
        lambda m, x: m.b((y := m.norm(x)) + F.avg_pool2d(y, 1)),
    ],
)
def test_a_layer_whose_result_is_more_than_a_linear_maps_input(join):
    model = settle(Net(join, 4).double()).eval()
    before = snapshot(model)
    assert fold(model, X).done == ()
    assert snapshot(model) == before


# ---------------------------------------------------------------------------- identity branches


class RepVGG(nn.Module):
    """Two convolutions and an identity, each normalized, then added."""

    def __init__(self, norm=nn.BatchNorm2d, kind=nn.Conv2d):
        super().__init__()
        self.a, self.b = kind(4, 4, 3, padding=1, bias=False), kind(4, 4, 1, bias=False)
        self.bn_a, self.bn_b, self.identity = norm(4), norm(4), norm(4)

    def forward(self, x):
        return torch.relu(self.bn_a(self.a(x)) + self.bn_b(self.b(x)) + self.identity(x))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, ours.BatchNorm2d])
def test_a_branch_that_is_only_a_layer_becomes_a_convolution(norm):
    model = RepVGG(norm)
    record = exact(model)
    assert {row.module: row.detail for row in record.done} == {
        "bn_a": "into a",
        "bn_b": "into b",
        "identity": "by a convolution of single channels",
    }
    assert model.identity.groups == 4
    assert model.identity.weight.requires_grad


def test_branches_of_other_dimensions_and_dtypes():
    for build, x in (
        ((nn.BatchNorm1d, nn.Conv1d), X.flatten(2)),
        ((nn.BatchNorm3d, nn.Conv3d), X.reshape(2, 4, 9, 4, 2)),
    ):
        assert len(exact(RepVGG(*build), x).done) == 3
    model = settle(RepVGG()).eval().requires_grad_(False)
    assert len(fold(model, X.float()).done) == 3
    assert model.identity.weight.dtype == torch.float32
    assert not model.identity.bias.requires_grad


def test_a_layer_behind_a_sum_with_an_identity_branch():
    model = Net(lambda m, x: m.norm(m.identity(x) + m.a(x)), 8, identity=nn.BatchNorm2d(4))
    model.a, model.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
    record = exact(model)
    assert [(row.module, row.detail) for row in record.changes] == [
        ("norm", "into identity and a"),
        ("identity", "by a convolution of single channels"),
    ]


def test_a_layer_behind_an_activation_is_no_branch():
    model = Net(lambda m, x: m.norm(m.a(x).relu()) + x.repeat(1, 2, 1, 1))
    assert exact(model).done == ()


# ------------------------------------------------------------- layers with an activation inside


@pytest.mark.parametrize("act", [nn.ReLU(), nn.SiLU(), nn.GELU(), nn.Identity()])
def test_another_packages_layer_leaves_its_activation(act):
    norm = partial(BatchNormAct2d, act=act)
    model = Net(lambda m, x: m.b(m.norm(m.a(x))[:, :4]), norm=norm)
    assert [row.detail for row in exact(model).done] == ["into a"]
    assert type(model.norm) is type(act)


def test_an_activation_that_the_usual_values_do_not_show():
    class Activated(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    model = settle(Net(lambda m, x: m.norm(m.a(x)), norm=Activated).double()).eval()
    with torch.no_grad():
        model.norm.bias.fill_(100.0)
    (left,) = fold(model, X).left
    assert "does more than scale and shift" in left.detail


def test_converted_and_not_give_the_same():
    model = settle(Net(lambda m, x: m.norm(m.a(x)), norm=partial(BatchNormAct2d, act=nn.SiLU())))
    other = settle(Net(lambda m, x: m.norm(m.a(x)), norm=partial(BatchNormAct2d, act=nn.SiLU())))
    other.load_state_dict(model.state_dict())
    convert(other)
    for each in (model, other):
        assert len(fold(each.double().eval(), X).done) == 1
    torch.testing.assert_close(model(X), other(X))
