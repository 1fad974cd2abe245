"""One proof for all operations: rounding passes it, in whatever network, and mistakes do not."""

import copy
from typing import NamedTuple

import pytest
import torch
from torch import nn

from batchnorm._model._behaviour import Behaviour, Pass, Statistics, relative_error
from batchnorm._model._compare import Proof
from batchnorm.errors import SurgeryError
from batchnorm.nn import Layer
from batchnorm.surgery import convert, insert
from batchnorm.surgery._fuse import _modules
from support.models.architectures import chain, mobilenet, resnet
from support.models.surgery import snapshot


def images(count=4, size=16):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def tiny_variance():
    """Some channels hardly vary."""
    model = mobilenet(nn.ReLU, depth=1)
    with torch.no_grad():
        model[0].weight[:3] *= 1e-6
    return model


def constant_channels():
    """Some channels do not vary at all, and are far from zero."""
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 4, 1))
    with torch.no_grad():
        model[0].weight[:4] = 0.0
        model[0].bias[:4] = 100.0
    return model


def one_channel_of_zeros():
    """The running mean stays exactly 0."""
    model = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
    with torch.no_grad():
        model[0].weight[:4] = 0.0
    return model


ROUNDED = {
    "linear bottlenecks": lambda: mobilenet(nn.SiLU),
    "mobilenet": lambda: mobilenet(nn.ReLU),
    "squeeze and excite": lambda: mobilenet(nn.SiLU, excite=True),
    "zero-initialized last norm": lambda: resnet((1, 1), width=8, zero_init=True),
    "tiny variance": tiny_variance,
    "constant channels": constant_channels,
    "channels of zeros": one_channel_of_zeros,
}


@pytest.mark.parametrize("build", ROUNDED.values(), ids=ROUNDED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_alone_is_no_mistake(build, dtype):
    torch.manual_seed(0)
    model = build().to(dtype)
    record = convert(model, fuse=True, example_inputs=images().to(dtype))
    assert any("with" in change.detail for change in record.done)


@pytest.mark.parametrize(
    ("depth", "act"),
    [
        (50, nn.SiLU),
        pytest.param(50, nn.ReLU, marks=pytest.mark.slow),
        pytest.param(60, nn.ReLU, marks=pytest.mark.slow),
        pytest.param(60, nn.SiLU, marks=pytest.mark.slow),
    ],
)
def test_a_deep_chain_in_which_rounding_grows(act, depth):
    torch.manual_seed(0)
    model = chain(depth, act=act).train()
    record = convert(model, fuse=True, example_inputs=torch.randn(32, 16))
    assert len([c for c in record.done if "with" in c.detail]) == depth


def test_a_deep_chain_gets_layers_that_change_nothing():
    torch.manual_seed(0)
    maps = [layer for _ in range(40) for layer in (nn.Linear(16, 16), nn.Tanh())]
    record = insert(nn.Sequential(*maps, nn.Linear(16, 3)), torch.randn(64, 16), start="data")
    assert len(record.done) == 40


def wrong_slope(layer):
    layer.negative_slope = 0.1


def shifted_mean(layer):
    layer.running_mean += 0.1 * layer.running_var.sqrt()


def wider_variance(layer):
    layer.running_var *= 1.1


def other_activation(layer):
    layer.activation = "silu"


class Leaky(nn.Module):
    def __init__(self, depth=1):
        super().__init__()
        blocks = [(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.LeakyReLU(0.01)) for _ in range(depth)]
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.body = nn.Sequential(*(part for block in blocks for part in block))

    def forward(self, x):
        return self.body(self.stem(x)).mean((2, 3))


MISTAKES = [wrong_slope, shifted_mean, wider_variance, other_activation]
DEEP = [
    pytest.param(mistake, 50, marks=() if mistake is shifted_mean else pytest.mark.slow)
    for mistake in MISTAKES
]


@pytest.mark.parametrize(("mistake", "depth"), [*((m, 1) for m in MISTAKES), *DEEP])
def test_a_mistake_is_refused_and_undone(monkeypatch, mistake, depth):
    torch.manual_seed(0)
    model, real = Leaky(depth), _modules._fuse
    before = snapshot(model)

    def wrong(layer, name, activation, changes):
        saved = copy.deepcopy(dict(layer.named_buffers()))
        found = real(layer, name, activation, changes)
        if name == f"body.{3 * depth - 1}":
            mistake(layer)
            changes.on_undo(lambda: [layer.get_buffer(n).copy_(b) for n, b in saved.items()])
        return found

    monkeypatch.setattr(_modules, "_fuse", wrong)
    with pytest.raises(SurgeryError, match=r"of the model's before \(relative\) is needed"):
        convert(model, fuse=True, example_inputs=images())
    assert snapshot(model) == before


def test_a_residual_that_is_dropped_is_refused(monkeypatch):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return torch.relu(self.norm(self.conv(x)) + x)

    real = Layer.forward
    graph = torch.fx.symbolic_trace(Block())
    monkeypatch.setattr(Layer, "forward", lambda self, x, _=None: real(self, x))
    with pytest.raises(SurgeryError, match="an output within"):
        convert(graph, fuse=True, example_inputs=images())


def test_a_network_beyond_proof_is_judged_in_its_own_dtype():
    """It does not run in float64, so nothing excuses an error."""

    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x):
            return self.norm(self.linear(x.float()))

    model = Single()
    passes = [Pass(torch.randn(8, 4), training=True)]
    proof = Proof(model, lambda *_: None, passes, advice="do not")
    assert proof.check(model) == 0.0
    with torch.no_grad():
        model.linear.weight[0] *= 2
    with pytest.raises(SurgeryError, match=r"got .* in torch.float32 in training"):
        proof.check(model)


def test_a_mean_counts_in_standard_deviations():
    def statistics(mean, var, eps=0.0):
        mean, var = (torch.tensor([v], dtype=torch.float64) for v in (mean, var))
        return Behaviour((), statistics=(Statistics(mean, var, eps),))

    assert statistics(1e-7, 4.0).error(statistics(0.0, 4.0)) == pytest.approx(5e-8)
    assert statistics(0.2, 4.0).error(statistics(0.0, 4.0)) == pytest.approx(0.1)
    assert statistics(0.0, 4.4).error(statistics(0.0, 4.0)) == pytest.approx(0.1)
    assert statistics(1e-7, 0.0, 1e-4).error(statistics(0.0, 0.0, 1e-4)) == pytest.approx(1e-5)
    assert statistics(11.0, 0.0).error(statistics(10.0, 0.0)) == pytest.approx(0.1)
    infinite = statistics(1.0, float("inf"))
    assert infinite.error(copy.deepcopy(infinite)) == 0.0
    assert statistics(2.0, float("inf")).error(infinite) == pytest.approx(1.0)


def test_what_is_lost_in_any_part_is_never_within_bounds():
    same = Behaviour((torch.ones(2),), (torch.ones(2),), (torch.ones(2),))
    lost = torch.full((2,), torch.nan)
    for part in ("outputs", "gradients", "buffers"):
        other = Behaviour(**{**vars(same), part: (lost,)})
        assert other.error(same) != other.error(same), part


def test_an_error_is_relative_to_the_largest_finite_value():
    found, expected = torch.tensor([1.0, torch.inf, 2.0]), torch.tensor([1.0, torch.inf, 4.0])
    assert relative_error(found, expected) == 0.5


def test_a_named_tuple_of_arguments_is_taken_to_float64_too():
    class Inputs(NamedTuple):
        x: torch.Tensor

    [x] = Pass(Inputs(torch.zeros(2)), training=None).in_double().example_inputs
    assert x.dtype == torch.float64
