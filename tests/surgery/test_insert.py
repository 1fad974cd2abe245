"""Normalization goes where the paper puts it, and nowhere else."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import batchnorm.nn as ours
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.surgery import convert, fold, insert
from batchnorm.surgery._insert import _insert
from support.models.surgery import ByValue, UNet, snapshot


def vectors(features=6):
    return torch.randn(8, features, generator=torch.Generator().manual_seed(0))


def images(channels=3, side=8):
    g = torch.Generator().manual_seed(0)
    return 3 + torch.randn(8, channels, side, side, generator=g)


class Plain(nn.Module):
    """No normalization; two scales, a residual, functional activations, a regression at the end."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.act = nn.Tanh()
        self.hidden = nn.Linear(4, 6)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = F.gelu(self.down(x))
        y = self.act(self.up(y) + x)
        return torch.sigmoid(self.out(F.silu(self.hidden(y.mean((2, 3))))))


# ----------------------------------------------------------------------------- where it goes


def test_every_linear_map_before_a_nonlinearity_gets_a_layer_and_loses_its_bias():
    model = Plain()
    maps = {name: model.get_submodule(name) for name in ("stem", "down", "up", "hidden")}
    record = insert(model, images())
    assert [(row.module, row.what) for row in record.changes] == [
        ("stem", "normalized"),
        ("down", "normalized"),
        ("up", "normalized"),
        ("hidden", "normalized"),
        ("out", "left alone"),
    ]
    assert record.changes[1].detail == "BatchNorm2d(8) as down.norm"  # had no bias
    assert record.changes[3].detail == "BatchNorm1d(6) as hidden.norm, bias removed"
    for name, module in maps.items():
        part = "linear" if name == "hidden" else "conv"
        behind = model.get_submodule(name)
        assert type(behind) is nn.Sequential
        assert behind.get_submodule(part) is module
        assert module.bias is None
    assert {name for name, _ in model.named_parameters() if "norm" not in name} == {
        *("stem.conv.weight", "down.conv.weight", "up.conv.weight", "hidden.linear.weight"),
        *("out.weight", "out.bias"),
    }


def test_the_layer_takes_the_result_of_the_map():
    model, seen = Plain(), {}
    insert(model, images())
    model.stem.conv.register_forward_hook(lambda _m, _i, y: seen.update(before=y))
    model.stem.norm.register_forward_hook(lambda _m, i, _y: seen.update(after=i[0]))
    model(images())
    assert seen["before"] is seen["after"]


def test_kinds_dtypes_and_modes_follow_the_map():
    model = nn.Sequential(nn.Conv1d(3, 4, 2), nn.ReLU(), nn.Conv1d(4, 4, 2)).double().eval()
    insert(model, torch.randn(2, 3, 9, dtype=torch.float64))
    assert type(model[0].norm) is ours.BatchNorm1d
    assert model[0].norm.weight.dtype == torch.float64
    assert not model[0].training
    assert not model[0].norm.training
    model = nn.Sequential(nn.Conv3d(3, 4, 2), nn.ReLU(), nn.Conv3d(4, 4, 2)).bfloat16()
    insert(model, torch.randn(2, 3, 4, 4, 4, dtype=torch.bfloat16), eps=1e-3, momentum=None)
    layer = model[0].norm
    assert type(layer) is ours.BatchNorm3d
    assert layer.weight.dtype == torch.float32
    assert (layer.eps, layer.momentum) == (1e-3, None)


class Norm(nn.Module):
    """One of a kind that nobody knows, but for its name."""

    def forward(self, x):
        return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Conv1d(6, 6, 1), nn.Conv1d(6, 6, 1)
        self.out = nn.Linear(6, 6)

    def forward(self, x):
        q, k = self.q(x[..., None]), self.k(x[..., None])
        return self.out(torch.softmax(q @ k.mT, -1).mean(-1))


class Loop(nn.Module):
    """As in a recurrent network."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(self.cell(x))
        return self.out(x)


class Tied(nn.Module):
    """A decoder with the transposed weight of the encoder."""

    def __init__(self):
        super().__init__()
        self.encode, self.out = nn.Linear(6, 3), nn.Linear(6, 6)

    def forward(self, x):
        h = torch.relu(self.encode(x))
        return self.out(torch.relu(F.linear(h, self.encode.weight.T)))


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix, self.out = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(torch.relu(self.mix(x[:, None].expand(-1, 5, -1))))


class TwoHeads(nn.Module):
    """The hidden values are an output as well, before and after their nonlinearity."""

    def __init__(self, raw):
        super().__init__()
        self.raw, self.hidden, self.out = raw, nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        h = self.hidden(x)
        y = torch.relu(h)
        return {"logits": self.out(y), "features": h if self.raw else y}


class ByMode(nn.Module):
    def __init__(self):
        super().__init__()
        self.map, self.norm, self.out = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, x):
        x = self.map(x)
        return self.out(torch.relu(self.norm(x) if self.training else x))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.map, self.out = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(x)


def stack(*between):
    return nn.Sequential(nn.Linear(6, 6), *between, nn.Linear(6, 2))


LEFT_ALONE = [
    (lambda: stack(nn.BatchNorm1d(6), nn.ReLU()), "0", "1 normalizes it already"),
    (lambda: stack(nn.Dropout(), nn.LayerNorm(6), nn.ReLU()), "0", "2 normalizes it already"),
    (lambda: stack(Norm(), nn.ReLU()), "0", "1 normalizes it already"),
    (
        lambda: nn.Sequential(nn.Linear(6, 6), parametrizations.weight_norm(nn.Linear(6, 2))),
        "0",
        "no nonlinearity follows it before the next linear map",
    ),
    (stack, "0", "no nonlinearity follows it before the next linear map"),
    (lambda: stack(nn.Softmax(1)), "0", "no nonlinearity follows it before the next linear map"),
    (lambda: stack(nn.ReLU()), "2", "its result is an output of the model"),
    (
        lambda: nn.Sequential(nn.Linear(6, 2), nn.Sigmoid()),
        "0",
        "it is an output layer: no linear map comes after it",
    ),
    (Attention, "q", "no nonlinearity follows it before the next linear map"),
    (Loop, "cell", "it is called 3 times, each with other statistics"),
    (Tied, "encode", "its parameters are read past it"),
    (Sequences, "mix", "its result is shape (8, 5, 6), not (N, C, *) of 2D"),
    (lambda: TwoHeads(raw=True), "hidden", "its result is an output of the model"),
    (Unused, "map", "it is not called with these inputs"),
    (ByMode, "map", "norm normalizes it already"),
]


@pytest.mark.parametrize(("build", "name", "reason"), LEFT_ALONE)
def test_what_is_left_alone_is_told_why(build, name, reason):
    model = build()
    module = model.get_submodule(name)
    record = insert(model, vectors())
    assert {row.module: row.detail for row in record.left}[name] == reason
    assert model.get_submodule(name) is module


@pytest.mark.parametrize(
    "build",
    [
        lambda: stack(nn.Dropout(), nn.Unflatten(1, (6, 1)), nn.Flatten(), nn.PReLU()),
        lambda: stack(nn.GLU(), nn.Linear(3, 6)),
        lambda: TwoHeads(raw=False),
        lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.LSTM(6, 2)),
    ],
)
def test_what_a_nonlinearity_follows_by_whatever_way_is_normalized(build):
    model = build()
    record = insert(model, vectors())
    assert record.changes[0].what == "normalized"


def test_a_converted_network_has_nothing_to_insert():
    model = UNet()
    convert(model)
    before = snapshot(model)
    record = insert(model, images())
    assert record.done == ()
    assert snapshot(model) == before


def test_inserting_twice_does_nothing_more():
    model = Plain()
    insert(model, images())
    before = snapshot(model)
    assert insert(model, images()).done == ()
    assert snapshot(model) == before


def test_what_is_inserted_folds_away_again():
    model = Plain()
    insert(model, images())
    for step in range(3):
        model(images() + step)
    expected = model.eval()(images())
    assert len(fold(model, images()).done) == 4
    torch.testing.assert_close(model(images()), expected)


# ----------------------------------------------------------------------------- by name


def test_names_choose_also_what_custom_leaves_alone():
    model = Plain()
    record = insert(model, images(), names=["out", "stem"])
    assert [row.module for row in record.done] == ["stem", "out"]
    assert {row.detail for row in record.left} == {"not among the names"}


def test_a_name_that_cannot_be_normalized_is_refused():
    model = Loop()
    before = snapshot(model)
    with pytest.raises(SurgeryError, match=r"got also others \(cell: it is called 3 times"):
        insert(model, vectors(), names=["out", "cell"])
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ["act", "stem"]}, "names must be those of linear maps, got act: "),
        ({"names": ["none.such"]}, "names must be those of linear maps, got none.such: "),
        ({"where": "before"}, "where must be 'before_activation' or"),
        ({"start": "zero"}, "start must be 'standard' or 'data', got 'zero'"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        insert(Plain(), images(), **options)


# ----------------------------------------------------------------------------- the start


@pytest.mark.parametrize("where", ["before_activation", "after_activation"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_started_from_data_nothing_changes_at_first(where, dtype):
    g = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.LeakyReLU(), nn.Flatten(),
        nn.Linear(128, 32), nn.Tanh(), nn.Linear(32, 3),
    ).to(dtype)  # fmt: skip
    with torch.no_grad():  # scales and offsets of every size
        for parameter in model.parameters():
            parameter.mul_(10 * torch.rand((), generator=g)).add_(0.1)
    x = images().to(dtype)
    expected = model(x)
    record = insert(model, x, where=where, start="data")
    assert len(record.done) == 3
    bound = 1e-5 if dtype == torch.float32 else 1e-12
    for training in (True, False):
        found = model.train(training)(x)
        assert (found - expected).abs().max() <= bound * expected.abs().max()
    assert record.error <= bound
    # In evaluation it is the old network for other inputs too.
    y = images().to(dtype).flip(0) * 2
    old = old_network(model)
    torch.testing.assert_close(model(y), old(y), rtol=bound, atol=bound * 10)


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_a_start_from_data_makes_up_for_eps(eps):
    """Where no saturated unit hides it."""
    model = stack(nn.LeakyReLU()).double()
    x = vectors().double()
    expected = model(x)
    insert(model, x, start="data", eps=eps)
    for training in (False, True):  # training moves the running statistics
        torch.testing.assert_close(model.train(training)(x), expected, rtol=1e-12, atol=1e-12)


def old_network(model):
    """Return the network without normalization that a model is in evaluation."""
    old = copy.deepcopy(model)
    fold(old, images().to(next(model.parameters()).dtype))
    return old


def test_the_start_is_the_moments_of_the_batch():
    model = stack(nn.ReLU())
    with torch.no_grad():
        z = model[0](vectors())
    bias = model[0].bias
    insert(model, vectors(), start="data")
    layer = model[0].norm
    torch.testing.assert_close(layer.bias, z.mean(0))
    torch.testing.assert_close(layer.running_mean, z.mean(0) - bias)
    torch.testing.assert_close(layer.running_var, z.var(0, correction=0))
    torch.testing.assert_close(layer.weight, (z.var(0, correction=0) + 1e-5).sqrt())
    assert layer.num_batches_tracked == 1


def test_the_standard_start_is_one_and_zero():
    model = stack(nn.ReLU())
    insert(model, vectors())
    layer = model[0].norm
    assert layer.weight.tolist() == [1.0] * 6
    assert layer.bias.tolist() == [0.0] * 6
    assert layer.num_batches_tracked == 0


def test_dropout_before_a_new_layer_draws_the_same():
    model = nn.Sequential(nn.Dropout(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    assert insert(model, vectors(), start="data").error < 1e-5


def test_a_bias_that_a_parametrization_makes_is_kept():
    model = stack(nn.ReLU())
    nn.utils.parametrize.register_parametrization(model[0], "bias", nn.Tanh())
    expected = model(vectors())
    record = insert(model, vectors(), start="data")
    assert record.changes[0].detail == "BatchNorm1d(6) as 0.norm"
    torch.testing.assert_close(model(vectors()), expected)


def test_a_weight_that_a_parametrization_makes_is_kept():
    model = stack(nn.ReLU())
    parametrizations.weight_norm(model[0])
    insert(model, vectors())
    assert type(model[0].norm) is ours.BatchNorm1d


# ----------------------------------------------------------------------------- after it


def test_behind_activations_the_biases_stay():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    record = insert(model, vectors(), where="after_activation")
    assert [row.detail for row in record.done] == [
        "BatchNorm1d(6) as 1.norm",
        "BatchNorm1d(6) as 3.norm",
    ]
    assert [name for name, _ in model[1].named_children()] == ["activation", "norm"]
    assert model[0].bias is not None


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.c(self.act(self.b(self.act(self.a(x)))))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (Shared, "its activation act is called at several places"),
        (lambda: TwoHeads(raw=True), "its result is used at several places"),
        (Loop, "it is called 3 times, each with other statistics"),
        (lambda: stack(nn.Dropout(), nn.ReLU()), "no activation module follows it, but dropout"),
        (lambda: stack(nn.ReLU(), nn.BatchNorm1d(6)), "2 normalizes it already"),
    ],
)
def test_no_place_behind_an_activation(build, reason):
    record = insert(build(), vectors(), where="after_activation")
    assert record.changes[0].detail == reason


# ----------------------------------------------------------------------------- failures


class Nosy(nn.Module):
    """Reads an attribute of its linear map."""

    def __init__(self):
        super().__init__()
        self.map, self.out = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(torch.relu(self.map(x))) / self.map.in_features


def test_a_model_that_does_not_run_with_the_layers_is_as_before():
    model = Nosy()
    before = snapshot(model)
    words = r"got AttributeError \('Sequential' object has no attribute 'in_features'\)"
    with pytest.raises(SurgeryError, match=words):
        insert(model, vectors())
    assert snapshot(model) == before


def test_one_sample_is_too_few():
    model = stack(nn.ReLU())
    before = snapshot(model)
    with pytest.raises(SurgeryError, match=r"got CountError \(Expected more than 1 value"):
        insert(model, vectors()[:1])
    assert snapshot(model) == before


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_lazy_map_wants_a_run_first():
    model = nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(SurgeryError, match="an initialized model is needed, got the lazy LazyLin"):
        insert(model, vectors())
    model(vectors())
    assert len(insert(model, vectors()).done) == 1


def test_a_model_that_cannot_be_traced_is_as_before():
    model = ByValue()
    before = snapshot(model)
    with pytest.raises(SurgeryError, match=r"that runs on tensors without values is needed"):
        insert(model, images())
    assert snapshot(model) == before


def test_a_failure_in_the_middle_restores_the_model(monkeypatch):
    model, real, calls = Plain(), _insert._put, []
    before = snapshot(model)

    def failing(*arguments):
        calls.append(real(*arguments))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return calls[-1]

    monkeypatch.setattr(_insert, "_put", failing)
    with pytest.raises(KeyboardInterrupt):
        insert(model, images(), start="data")
    assert len(calls) == 3
    assert snapshot(model) == before


def test_a_start_that_changes_the_outputs_is_undone(monkeypatch):
    model, real = Plain(), _insert.start_from
    before = snapshot(model)
    monkeypatch.setattr(_insert, "start_from", lambda m, layer, _: real(m, layer, None))
    with pytest.raises(SurgeryError, match=r"got .* in evaluation: the model is as it was"):
        insert(model, images(), start="data")
    assert snapshot(model) == before


# ----------------------------------------------------------------------------- what for


def accuracy(model, x, y):
    g = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.5)
    for _ in range(100):
        batch = torch.randint(0, 1500, (60,), generator=g)
        loss = F.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (model.eval()(x[1500:]).argmax(1) == y[1500:]).float().mean().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_deep_sigmoid_network_trains_with_the_layers_and_not_without(seed):
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    torch.manual_seed(seed)
    maps = [layer for _ in range(5) for layer in (nn.Linear(64, 64), nn.Sigmoid())]
    plain = nn.Sequential(*maps, nn.Linear(64, 10))
    model = copy.deepcopy(plain)
    insert(model, x[:200])
    assert accuracy(plain, x, y) < 0.2
    assert accuracy(model, x, y) > 0.8
