"""Internal covariate shift against the closed form of a deep linear network, in NumPy."""

import functools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import batchnorm
from batchnorm.errors import DataError, MeasurementError, NonFiniteError, OptionError
from batchnorm.measure import internal_covariate_shift

mse = nn.functional.mse_loss


def linear_network(depth, width):
    layers = [nn.Linear(width, width, bias=False, dtype=torch.float64) for _ in range(depth)]
    return nn.Sequential(*layers)


def batch_of(rows, width):
    return tuple(torch.randn(rows, width, dtype=torch.float64) for _ in range(2))


def product(matrices, width):
    return functools.reduce(lambda whole, matrix: matrix @ whole, matrices, np.eye(width))


def gradient_of(weights, x, target, layer):
    """The gradient of the mean squared error of W_k ... W_1 x by one of the matrices."""
    width = x.shape[1]
    before, after = product(weights[:layer], width), product(weights[layer + 1 :], width)
    residual = x @ product(weights, width).T - target
    return 2 / residual.size * after.T @ residual.T @ x @ before.T


def closed_form(model, batch, step):
    """Norm of G, distance and cosine by layer; `step` makes an update of a gradient."""
    x, target = (tensor.numpy() for tensor in batch)
    weights = [layer.weight.detach().numpy().copy() for layer in model]
    gradients = [gradient_of(weights, x, target, layer) for layer in range(len(weights))]
    moved = [
        w + step(g, layer) for layer, (w, g) in enumerate(zip(weights, gradients, strict=True))
    ]
    for layer, g in enumerate(gradients):
        after = gradient_of([*moved[:layer], *weights[layer:]], x, target, layer)
        sizes = np.linalg.norm(g), np.linalg.norm(after)
        yield sizes[0], np.linalg.norm(g - after), (g * after).sum() / np.prod(sizes)


def assert_equal(record, expected, tolerance):
    found = [(layer.gradient, layer.distance, layer.cosine) for layer in record.layers]
    np.testing.assert_allclose(found, list(expected), rtol=tolerance, atol=1e-15)


@pytest.mark.parametrize("learning_rate", [1.0, 1e-3])
def test_gradient_descent(learning_rate):
    model, batch = linear_network(5, 6), batch_of(20, 6)
    record = internal_covariate_shift(model, batch, mse, learning_rate=learning_rate)
    assert_equal(record, closed_form(model, batch, lambda g, _: -learning_rate * g), 1e-9)
    assert [layer.name for layer in record.layers] == list("01234")
    assert record.loss == mse(model(batch[0]), batch[1]).item()
    assert record.layers[0].distance == 0.0
    assert record.layers[3].relative == record.layers[3].distance / record.layers[3].gradient


def test_the_deep_linear_network_of_the_paper():
    model, batch = linear_network(25, 10), batch_of(1000, 10)
    for layer in model:
        nn.init.xavier_normal_(layer.weight)
    record = internal_covariate_shift(model, batch, mse, learning_rate=1e-6)
    assert_equal(record, closed_form(model, batch, lambda g, _: -1e-6 * g), 1e-5)


def test_an_optimizer_that_is_made():
    model, batch = linear_network(4, 6), batch_of(20, 6)
    adam = partial(torch.optim.Adam, lr=0.01, eps=1e-6)
    record = internal_covariate_shift(model, batch, mse, optimizer=adam)
    assert_equal(record, closed_form(model, batch, lambda g, _: -0.01 * g / (abs(g) + 1e-6)), 1e-9)


def test_the_optimizer_of_the_model_with_its_state():
    model, batch = linear_network(4, 6), batch_of(20, 6)
    groups = [{"params": [layer.weight], "lr": 0.1 * (n + 1)} for n, layer in enumerate(model)]
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=0.01)
    mse(model(batch[0]), batch[1]).backward()
    optimizer.step()
    old = [optimizer.state[layer.weight]["momentum_buffer"].numpy() for layer in model]

    def step(g, layer):
        weight = model[layer].weight.detach().numpy()
        return -0.1 * (layer + 1) * (0.9 * old[layer] + g + 0.01 * weight)

    record = internal_covariate_shift(model, batch, mse, optimizer=optimizer)
    assert_equal(record, closed_form(model, batch, step), 1e-9)


@pytest.mark.parametrize("names", [None, ["3"], ["4", "1"]])
def test_one_pass_for_each_layer_that_is_asked_for(names):
    model, batch = linear_network(5, 6), batch_of(20, 6)
    calls = []
    whole = internal_covariate_shift(model, batch, mse, learning_rate=0.1)

    def forward(model, batch):
        calls.append(1)
        return model(batch[0])

    record = internal_covariate_shift(
        model, batch, mse, learning_rate=0.1, names=names, forward=forward
    )
    wanted = sorted(names or "01234")
    assert record.layers == tuple(layer for layer in whole.layers if layer.name in wanted)
    assert len(calls) == (5 if names is None else 1 + len(names))


# ---------------------------------------------------------------------- what stays the same


@pytest.mark.parametrize("family", [nn, batchnorm.nn], ids=["torch", "ours"])
def test_without_a_step_nothing_shifts_though_dropout_and_statistics_are_on(family):
    model = nn.Sequential(
        nn.Linear(4, 8), family.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2)
    )
    batch = torch.randn(32, 4), torch.randn(32, 2)
    only_last = torch.optim.SGD(model[4].parameters(), lr=10.0)
    record = internal_covariate_shift(model, batch, mse, optimizer=only_last)
    assert [layer.name for layer in record.layers] == ["0", "1", "4"]
    assert [layer.distance for layer in record.layers] == [0.0, 0.0, 0.0]
    shifted = internal_covariate_shift(model, batch, mse, learning_rate=10.0)
    assert all(layer.distance > 0 for layer in shifted.layers[1:])


def test_every_pass_starts_from_the_same_buffers():
    class Drifting(nn.BatchNorm1d):
        def forward(self, x):
            self.num_batches_tracked += 1
            return x * self.num_batches_tracked

    model = nn.Sequential(nn.Linear(4, 4), Drifting(4), nn.Linear(4, 2))
    batch = torch.randn(8, 4), torch.randn(8, 2)
    only_last = torch.optim.SGD(model[2].parameters(), lr=10.0)
    record = internal_covariate_shift(model, batch, mse, optimizer=only_last)
    assert [layer.distance for layer in record.layers] == [0.0, 0.0]


def test_the_mode_is_the_models_or_the_one_given():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    batch = torch.randn(32, 4), torch.randn(32, 2)
    measure = partial(internal_covariate_shift, model, batch, mse, learning_rate=0.1)
    train, evaluation = measure(training=True), measure(training=False)
    assert train != evaluation
    assert measure() == train
    model.eval()
    assert measure() == evaluation


# ---------------------------------------------------------------------- what a layer is


def test_layers_are_in_the_order_of_their_calls():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(4, 4), nn.Linear(4, 4)
            self.shift = nn.Parameter(torch.zeros(4))

        def forward(self, x):
            return self.last(self.first(x + self.shift))

    batch = torch.randn(8, 4), torch.randn(8, 4)
    record = internal_covariate_shift(Backwards(), batch, mse, learning_rate=0.1)
    assert [layer.name for layer in record.layers] == ["", "first", "last"]
    assert [layer.distance > 0 for layer in record.layers] == [False, True, True]


def test_parts_that_are_not_called_come_with_what_is_around_them():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 1)
            self.attention = nn.MultiheadAttention(4, 1)

        def forward(self, x):
            return self.head(self.attention(x, x, x)[0])

    batch = torch.randn(3, 8, 4), torch.randn(3, 8, 1)
    record = internal_covariate_shift(Attending(), batch, mse, learning_rate=0.1)
    assert [layer.name for layer in record.layers] == ["attention", "attention.out_proj", "head"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripted_parts():
    model = nn.Sequential(nn.Linear(4, 4), torch.jit.script(nn.Linear(4, 4)), nn.Linear(4, 4))
    batch = torch.randn(8, 4), torch.randn(8, 4)
    record = internal_covariate_shift(model, batch, mse, learning_rate=0.1)
    assert sorted(layer.name for layer in record.layers) == ["0", "1", "2"]


def test_layers_without_effect_are_told_and_shared_or_frozen_weights_count_once():
    model = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("used", "unused", "frozen", "tied")})
    model["tied"].weight = model["used"].weight
    model["frozen"].requires_grad_(False)

    def forward(m, x):
        return m["tied"](m["frozen"](m["used"](x))).square().mean()

    record = internal_covariate_shift(model, torch.randn(8, 4), learning_rate=0.1, forward=forward)
    assert [layer.name for layer in record.layers] == ["used", "tied"]
    assert record.unused == ("unused",)


def test_sparse_gradients_and_batches_of_keywords():
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 2))
    batch = {"input": torch.tensor([1, 1, 7])}
    target = torch.randn(3, 2)
    record = internal_covariate_shift(model, (batch, target), mse, learning_rate=0.1)
    assert record.layers[1].distance > 0


# ---------------------------------------------------------------------- errors

PAIR = (torch.ones(4, 2), torch.ones(4, 2))
REFUSED = {
    "neither": ({}, OptionError, "either learning_rate or optimizer is needed, got none: give"),
    "both": (
        {"learning_rate": 0.1, "optimizer": torch.optim.Adam},
        OptionError,
        "either learning_rate or optimizer is needed, got both: give",
    ),
    "no step": ({"learning_rate": 0.0}, OptionError, "positive and finite, got 0.0: take"),
    "infinite step": ({"learning_rate": float("inf")}, OptionError, "got inf: take"),
    "others": (
        {"optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)},
        OptionError,
        "an optimizer of this model's parameters is needed, got a SGD of others: make it from",
    ),
    "no optimizer": (
        {"optimizer": len},
        OptionError,
        "from a list of parameters, got a maker of int: give functools.partial",
    ),
    "unknown name": (
        {"learning_rate": 0.1, "names": ["7"]},
        OptionError,
        "names must be those of layers with parameters that require a gradient, got '7': take",
    ),
    "text": ({"learning_rate": 0.1, "names": "0"}, OptionError, "got the text '0': put it in"),
    "no pair": (
        {"learning_rate": 0.1, "batch": PAIR[0]},
        DataError,
        "the batch must be a pair of input and target, got a Tensor: give a pair",
    ),
    "three": (
        {"learning_rate": 0.1, "batch": (*PAIR, 1)},
        DataError,
        "must be a pair of input and target, got a tuple of 3: give a pair",
    ),
    "many numbers": (
        {"learning_rate": 0.1, "loss": lambda y, t: (y - t).square()},
        MeasurementError,
        r"a loss of one number is needed, got shape \(4, 2\): give a loss",
    ),
    "no tensor": (
        {"learning_rate": 0.1, "loss": lambda *_: 1.0},
        MeasurementError,
        "a loss of one number is needed, got float: give a loss",
    ),
    "detached": (
        {"learning_rate": 0.1, "loss": lambda y, _: y.detach().mean()},
        MeasurementError,
        "depends on the parameters is needed, got one without gradient: do not detach",
    ),
    "infinite loss": (
        {"learning_rate": 0.1, "loss": lambda y, _: y.sum() / 0.0},
        NonFiniteError,
        r"needed to measure from, got inf and NaN or Inf in the gradients of 2 parameters",
    ),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=list(REFUSED))
def test_errors_at_the_door(refused):
    options, error, message = refused
    model = nn.Linear(2, 2)
    nn.init.ones_(model.weight)
    batch, loss = options.get("batch", PAIR), options.get("loss", mse)
    options = {name: v for name, v in options.items() if name not in ("batch", "loss")}
    with pytest.raises(error, match=message):
        internal_covariate_shift(model, batch, loss, **options)


def test_a_model_without_trainable_parameters_is_refused():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(MeasurementError, match="got 2 parameters that do not: let some"):
        internal_covariate_shift(model, PAIR, mse, learning_rate=0.1)
