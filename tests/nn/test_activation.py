"""`activation=` and `residual`: the layer and what follows it, in one pass."""

import pytest
import torch
from torch.nn import functional as F

from batchnorm import functional, kernels, nn
from batchnorm.errors import DTypeError, OptionError, ShapeError
from support.layers.cases import lay_out

ACTIVATIONS = {
    None: lambda z: z,
    "relu": torch.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.2),
    "silu": F.silu,
    "relu6": F.relu6,
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "hardswish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": lambda z: F.relu6(z + 3) / 6,  # torch's own has a derivative of 32 bits
    "tanh": torch.tanh,
}
OFTEN = [None, "relu", "leaky_relu", "silu"]
# Every one by the eager backend; compiling all of them takes minutes.
WAYS = [
    pytest.param(
        activation, with_residual, training, layout, backend,
        marks=[] if activation in OFTEN or backend == "eager" or (
            activation == "gelu" and with_residual and training
            and layout == "contiguous"
        ) else [pytest.mark.slow],
    )
    for activation in ACTIVATIONS
    for with_residual in (False, True)
    for training in (True, False)
    for layout in ("contiguous", "channels_last")
    for backend in kernels.available()
]  # fmt: skip


def layers(activation, channels=3):
    fused = nn.BatchNorm2d(channels, activation=activation, negative_slope=0.2, dtype=torch.float64)
    plain = nn.BatchNorm2d(channels, dtype=torch.float64)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(torch.randn(channels) + 0.5)
    fused.load_state_dict(plain.state_dict())
    return fused, plain


@pytest.mark.parametrize(("activation", "with_residual", "training", "layout", "backend"), WAYS)
def test_equals_the_sequence(backend, layout, training, with_residual, activation):
    fused, plain = layers(activation)
    found = []
    for layer in (fused, plain):
        g = torch.Generator().manual_seed(3)
        x, r, dy = torch.randn(3, 4, 3, 12, 13, generator=g, dtype=torch.float64)
        x, r = (lay_out(t, layout).requires_grad_() for t in (x, r))
        layer.train(training)
        with kernels.backend(backend):
            if layer is fused:
                y = layer(x, r if with_residual else None)
            else:
                y = ACTIVATIONS[activation](layer(x) + r if with_residual else layer(x))
            y.backward(dy)
        residual_grad = [r.grad] if with_residual else []
        gradients = [x.grad, layer.weight.grad, layer.bias.grad, *residual_grad]
        found.append([y, *gradients, *layer.buffers()])
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("training", [True, False])
@kernels.backend("eager")
def test_second_derivatives(activation, with_residual, training):
    g = torch.Generator().manual_seed(1)
    x, r = torch.randn(2, 4, 2, 3, 2, generator=g, dtype=torch.float64).requires_grad_().unbind(0)
    weight, bias = torch.rand(2, 2, generator=g, dtype=torch.float64).add(0.5).unbind(0)
    mean, var = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    inputs = [t.detach().requires_grad_() for t in (x, weight, bias, r)]

    def function(x, weight, bias, r):
        statistics = (None, None) if training else (mean, var)
        return functional.batch_norm(
            x, *statistics, weight, bias, training,
            residual=r if with_residual else None, activation=activation, negative_slope=0.3,
        )  # fmt: skip

    z = functional.batch_norm(
        x, *((None, None) if training else (mean, var)), weight, bias, training
    )
    assert (z + (r if with_residual else 0)).abs().min() > 1e-3, "no kink within the differences"
    used = inputs if with_residual else inputs[:3]
    shorter = function if with_residual else lambda *t: function(*t, None)
    assert torch.autograd.gradcheck(shorter, used)
    assert torch.autograd.gradgradcheck(shorter, used)


def kept_bytes(function):
    """Bytes of distinct memory that autograd keeps for the backward pass."""
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = function()
    return sum(storages.values()), output


@pytest.mark.parametrize("backend", kernels.available())
def test_fused_add_keeps_the_input_and_a_bit_a_value(backend):
    x, r = torch.randn(2, 16, 32, 28, 28, requires_grad=True).unbind(0)
    ours, theirs = nn.BatchNorm2d(32, activation="relu"), torch.nn.BatchNorm2d(32)
    with kernels.backend(backend):
        mine, _ = kept_bytes(lambda: ours(x.clone(), r))
    other, _ = kept_bytes(lambda: torch.relu(theirs(x.clone()) + r))
    assert other > 2 * x.numel() * 4
    assert mine < 0.53 * other


def test_relu_passes_nan_as_torch_does():
    x = torch.randn(4, 3)
    x[1, 1] = torch.nan
    for r in (None, torch.randn(4, 3)):
        y = functional.batch_norm(x, None, None, training=True, activation="relu", residual=r)
        assert y.isnan().sum(0).tolist() == [0, 4, 0]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"activation": "mish"}, OptionError, "one of relu, .*, tanh, got 'mish': put any"),
        (
            {"activation": "leaky_relu", "negative_slope": 0.0},
            OptionError,
            r"must be positive and finite, got 0\.0: for zero take relu",
        ),
        ({"residual": torch.randn(4, 1)}, ShapeError, r"shape of x \(4, 3\), got \(4, 1\)"),
        ({"residual": torch.randn(4, 3).double()}, DTypeError, "float32, got torch.float64"),
    ],
)
def test_errors(options, error, text):
    with pytest.raises(error, match=text):
        functional.batch_norm(torch.randn(4, 3), None, None, training=True, **options)


def test_repr_names_the_activation_only_where_there_is_one():
    assert "activation" not in repr(nn.BatchNorm2d(3))
    assert repr(nn.BatchNorm2d(3, activation="relu")).endswith("activation='relu')")
    assert "negative_slope=0.1" in repr(
        nn.BatchNorm2d(3, activation="leaky_relu", negative_slope=0.1)
    )


def test_lazy_layers_have_it_too():
    layer = nn.LazyBatchNorm1d(activation="relu")
    assert layer(torch.randn(8, 3)).min() == 0
    assert layer.activation == "relu"


@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
def test_an_unknown_activation_is_refused_by_the_constructor(layer):
    with pytest.raises(OptionError, match=r"one of relu, .*, got 'mish'"):
        layer(3, activation="mish")
