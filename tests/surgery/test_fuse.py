"""A layer does what follows it only where nothing else sees the difference."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchnorm.nn as ours
from batchnorm import kernels
from batchnorm._model import _compare
from batchnorm._model._behaviour import Behaviour, behaviour
from batchnorm.errors import SurgeryError
from batchnorm.surgery import convert, revert
from batchnorm.surgery._fuse import _modules
from batchnorm.surgery._fuse._fused import Fused
from support.models.surgery import ByValue, Residual, UNet, settle, snapshot

ACTIVATIONS = [
    (nn.ReLU(), "relu"),
    (nn.ReLU(inplace=True), "relu"),
    (nn.SiLU(), "silu"),
    (nn.LeakyReLU(0.2), "leaky_relu"),
]


def image(channels=3, step=0):
    g = torch.Generator().manual_seed(step)
    return torch.randn(4, channels, 8, 8, dtype=torch.float64, generator=g)


def both(model, x):
    return [behaviour(model, x, training=training) for training in (True, False)]


def assert_same(model, x, before, most=1e-12):
    for found, expected in zip(both(model, x), before, strict=True):
        assert found.error(expected) < most


@pytest.mark.parametrize(("act", "word"), ACTIVATIONS)
def test_an_activation_that_alone_follows_is_done_by_the_layer(act, word):
    model = settle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), act, nn.Conv2d(4, 2, 3)))
    before = both(model.double(), image())
    record = convert(model, fuse=True, example_inputs=image())
    assert model[1].activation == word
    assert isinstance(model[2], nn.Identity)
    assert record.changes[0].detail.endswith(f"with {type(act).__name__} of 2")
    assert record.error < 1e-12
    assert_same(model, image(), before)


def test_the_activations_of_a_network_are_fused():
    model = settle(UNet().double())
    before = both(model, image())
    record = convert(model, fuse=True, example_inputs=image())
    fused = [name for name, m in model.named_modules() if isinstance(m, Fused)]
    assert fused == ["down.2", "bottom.2", "head.2"]
    details = {change.module: change.detail for change in record.changes}
    assert details["up_norm"] == "from torch.nn.BatchNorm2d, nothing fused: cat follows"
    assert_same(model, image(), before)


def test_layers_that_are_ours_already_are_fused_too():
    model = nn.Sequential(ours.BatchNorm2d(3), nn.ReLU(), ours.BatchNorm2d(3))
    record = convert(model, fuse=True, example_inputs=image().float())
    assert [change.what for change in record.changes] == ["fused", "left alone"]


class Twice(nn.Module):
    """One activation behind two layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.relu = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x):
        return self.relu(self.b(self.relu(self.a(x))))


class Also(nn.Module):
    """The result of the layer is used before the activation too."""

    def __init__(self):
        super().__init__()
        self.bn, self.relu = nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x):
        y = self.bn(x)
        return self.relu(y) + y


class InTraining(nn.Module):
    """Activated in training only."""

    def __init__(self):
        super().__init__()
        self.bn, self.relu = nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x):
        y = self.bn(x)
        return self.relu(y) if self.training else torch.tanh(y)


class Again(nn.Module):
    """The result of the layer goes to the layer again, beside the activation."""

    def __init__(self):
        super().__init__()
        self.bn, self.relu = nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x):
        y = self.bn(x)
        return torch.tanh(self.bn(y)) + self.relu(y)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn, self.relu = nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x):
        return self.relu(x)


class Repeated(nn.Module):
    """One layer and one activation, called together three times."""

    def __init__(self):
        super().__init__()
        self.bn, self.relu = nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x):
        for _ in range(3):
            x = self.relu(self.bn(x))
        return x


def watched(which):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    model[which].register_forward_hook(lambda *_: None)
    return model


NOT_FUSED = [
    (Twice, "a", "ReLU relu is called at 2 places"),
    (Also, "bn", "its output is used at several places"),
    (InTraining, "bn", "what follows differs between training and evaluation"),
    (Again, "bn", "what follows differs between training and evaluation"),
    (Unused, "bn", "it is not called with these inputs"),
    (lambda: Residual(3), "bn1", "relu follows, a call that only a GraphModule can lose"),
    (lambda: Residual(3), "bn2", "add follows"),
    (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Mish()), "0", "Mish follows"),
    (lambda: watched(0), "0", "it has hooks, which expect its output without an activation"),
    (lambda: watched(1), "0", "ReLU 1 has hooks"),
]


@pytest.mark.parametrize(("build", "name", "reason"), NOT_FUSED)
def test_what_cannot_be_fused_is_told_why(build, name, reason):
    model = settle(build().double())
    before = both(model, image())
    record = convert(model, fuse=True, example_inputs=image())
    [detail] = [change.detail for change in record.changes if change.module == name]
    assert detail == f"from torch.nn.BatchNorm2d, nothing fused: {reason}"
    assert model.get_submodule(name).activation is None
    assert_same(model, image(), before)


def test_a_layer_and_its_activation_may_be_called_together_many_times():
    model = settle(Repeated().double())
    before = both(model, image())
    convert(model, fuse=True, example_inputs=image())
    assert model.bn.activation == "relu"
    assert_same(model, image(), before)


def test_modes_and_statistics_come_back_as_they_were():
    model = settle(UNet().double()).train()
    model.bottom.eval()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = [module.training for module in model.modules()]
    torch.manual_seed(7)
    convert(model, fuse=True, example_inputs=image())
    drawn = torch.rand(1)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(model.get_buffer(name), b) for name, b in buffers.items())
    torch.manual_seed(7)
    assert drawn == torch.rand(1)


def test_a_wrong_fusion_is_undone(monkeypatch):
    """Were the tracing wrong, the numbers would tell."""
    model = settle(Also().double())
    before = snapshot(model)
    wrong = _modules.Follower("relu")
    monkeypatch.setattr(_modules, "_follower", lambda *_, **__: wrong)
    with pytest.raises(SurgeryError, match=r"within 1e-08 of the model's before .* in training"):
        convert(model, fuse=True, example_inputs=image())
    assert snapshot(model) == before


def test_a_model_that_cannot_be_traced_is_as_before():
    model = settle(ByValue())
    before = snapshot(model)
    with pytest.raises(SurgeryError, match=r"that runs on tensors without values is needed"):
        convert(model, fuse=True, example_inputs=torch.randn(2, 3, 8, 8))
    assert snapshot(model) == before


# ------------------------------------------------------------------------------ GraphModule


class Block(nn.Module):
    """As in torchvision: one in-place activation for all, and an addition in place."""

    def __init__(self, shortcut=False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.shortcut = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)) if shortcut else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.shortcut is None else self.shortcut(x)
        return self.relu(y)


def traced(model):
    return torch.fx.symbolic_trace(model)


def test_a_graph_loses_additions_and_shared_activations():
    model = settle(nn.Sequential(Block(), Block(shortcut=True), Block()).double())
    before = both(model, image(4))
    graph = traced(model)
    record = convert(graph, fuse=True, example_inputs=image(4))
    words = {change.module: change.detail.partition(", ")[2] for change in record.changes}
    assert words == {
        "0.bn1": "with relu",
        "0.bn2": "with the addition and relu",
        "1.bn1": "with relu",
        "1.bn2": "with the addition and relu",
        "1.shortcut.1": "nothing fused: neither an addition nor an activation alone follows it",
        "2.bn1": "with relu",
        "2.bn2": "with the addition and relu",
    }
    assert record.error < 1e-12
    assert not [node for node in graph.graph.nodes if node.op == "call_function"]
    assert not [m for m in graph.modules() if isinstance(m, nn.ReLU)]
    assert_same(graph, image(4), before)


MORE = [
    (F.relu6, nn.ReLU6(), "relu6"),
    (F.elu, nn.ELU(), "elu"),
    (F.gelu, nn.GELU(), "gelu"),
    (lambda y: F.gelu(y, approximate="tanh"), nn.GELU("tanh"), "gelu_tanh"),
    (F.hardswish, nn.Hardswish(inplace=True), "hardswish"),
    (torch.sigmoid, nn.Sigmoid(), "sigmoid"),
    (lambda y: y.sigmoid_(), nn.Sigmoid(), "sigmoid"),
    (F.hardsigmoid, nn.Hardsigmoid(), "hardsigmoid"),
    (torch.tanh, nn.Tanh(), "tanh"),
    (lambda y: y.tanh(), nn.Tanh(), "tanh"),
]


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.bn, self.function = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), function

    def forward(self, x):
        return self.function(self.bn(self.conv(x)))


@pytest.mark.parametrize(("function", "module", "word"), MORE)
@kernels.backend("eager")
def test_every_activation_is_fused_and_given_back(function, module, word):
    # The derivative of torch's hardsigmoid has 32 bits in float64 too.
    dtype, most = (torch.float32, 1e-5) if word == "hardsigmoid" else (torch.float64, 1e-12)
    with_module = settle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), module)).to(dtype)
    graph, x = traced(settle(Applied(function)).to(dtype)), image().to(dtype)
    for model in (with_module, graph):
        before = both(model, x)
        convert(model, fuse=True, example_inputs=x)
        layer = model[1] if model is with_module else model.bn
        assert layer.activation == word
        assert_same(model, x, before, most)
        revert(model)
        assert not [m for m in model.modules() if isinstance(m, ours.Layer)]
        assert_same(model, x, before, most)
    assert with_module[2] is module


FUNCTIONS = [
    (torch.relu, "relu"),
    (F.silu, "silu"),
    (lambda y: F.relu(y, inplace=True), "relu"),
    (lambda y: y.relu(), "relu"),
    (lambda y: F.leaky_relu(y, 0.3), "leaky_relu"),
    (lambda y: F.leaky_relu(y, negative_slope=0.3), "leaky_relu"),
    (F.leaky_relu, "leaky_relu"),
    (lambda y: torch.add(y, y.new_zeros(())), None),
    (F.mish, None),
    (lambda y: F.elu(y, 0.7), None),
    (lambda y: F.leaky_relu(y, -0.3), None),
    (lambda y: y + 1.0, None),
    (lambda y: y + y, None),
]


@pytest.mark.parametrize(("function", "word"), FUNCTIONS)
def test_a_graph_loses_calls_of_functions(function, word):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            return function(self.bn(self.conv(x)))

    graph = traced(settle(Model().double()))
    before = both(graph, image())
    convert(graph, fuse=True, example_inputs=image())
    assert graph.bn.activation == word
    assert_same(graph, image(), before)


class Sums(nn.Module):
    """Additions of which some cannot be done by the layer."""

    def __init__(self, how):
        super().__init__()
        self.how, self.conv, self.bn = how, nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):  # noqa: PLR0911 -- a table
        z = self.conv(x)
        match self.how:
            case "plain":
                return self.bn(z) + x
            case "swapped":
                return x + self.bn(z)
            case "method":
                return self.bn(z).add_(x)
            case "broadcast":
                return self.bn(z) + x[:, :1]
            case "scaled":
                return torch.add(self.bn(z), x, alpha=2)
            case "seen":  # the sum is written over what is used again
                v = 2 * x
                w = v.add_(self.bn(z))
                return w + torch.tanh(v)
            case "used":  # what else is done to the input of the layer might change it
                y = self.bn(z)
                return torch.tanh(z) * (y + x)
            case "both":
                y = self.bn(z)
                return y + x + torch.tanh(y)
        raise ValueError(self.how)


@pytest.mark.parametrize(
    ("how", "fused"),
    [
        ("plain", True),
        ("swapped", True),
        ("method", True),
        ("broadcast", False),
        ("scaled", False),
        ("seen", False),
        ("used", False),
        ("both", False),
    ],
)
def test_an_addition_is_fused_where_it_is_alone(how, fused):
    graph = traced(settle(Sums(how).double())).eval()
    x = image()
    expected = graph(x.clone())
    [change] = convert(graph, fuse=True, example_inputs=x).changes
    assert change.detail.endswith("with the addition") is fused
    torch.testing.assert_close(graph(x.clone()), expected)


def test_a_graph_is_as_before_after_a_failure(monkeypatch):
    graph = traced(settle(Block().double()))
    code, before = graph.code, snapshot(graph)

    def failing(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_compare.Proof, "check", failing)
    with pytest.raises(KeyboardInterrupt):
        convert(graph, fuse=True, example_inputs=image(4))
    assert graph.code == code
    assert snapshot(graph) == before


def test_a_layer_takes_one_residual_only():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return torch.relu(self.bn(self.conv(x)) + x + 2 * x)

    graph = traced(settle(Model().double()))
    before = both(graph, image())
    convert(graph, fuse=True, example_inputs=image())
    record = convert(graph, fuse=True, example_inputs=image())
    assert record.done == ()
    assert graph.bn.activation is None
    assert_same(graph, image(), before)


def test_keyword_arguments_reach_the_graph():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm2d(3)

        def forward(self, pixels, scale=1.0, shift=0.0):
            return torch.relu(self.bn(pixels) * scale + shift)

    graph = traced(Model().double())
    record = convert(graph, fuse=True, example_inputs={"pixels": image()})
    assert "nothing fused" in record.changes[0].detail


# -------------------------------------------------------------------------------- behaviour


def test_the_error_of_a_behaviour_sees_each_part():
    same = Behaviour((torch.ones(3),), (torch.ones(2), torch.zeros(2)), (torch.ones(1),))
    assert same.error(copy.deepcopy(same)) == 0.0
    other = Behaviour((torch.ones(3) * 1.1,), same.gradients, same.buffers)
    assert other.error(same) == pytest.approx(0.1)
    other = Behaviour(same.outputs, (torch.ones(2), torch.full((2,), 0.1)), same.buffers)
    assert other.error(same) == pytest.approx(0.1)
    other = Behaviour(same.outputs, same.gradients, (torch.ones(1) * 2,))
    assert other.error(same) == pytest.approx(1.0)


def test_what_is_not_finite_has_to_be_the_same():
    values = torch.tensor([1.0, torch.nan, torch.inf, -torch.inf])
    same = Behaviour((values,), (), ())
    assert same.error(copy.deepcopy(same)) == 0.0
    for place in range(4):
        other = values.clone()
        other[place] = 2.0
        assert not Behaviour((other,), (), ()).error(same) < 1.0


class Masked(nn.Module):
    """Some outputs are infinite, and shall be."""

    def __init__(self):
        super().__init__()
        self.bn, self.relu = nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x):
        y = self.relu(self.bn(x))
        return y.masked_fill(x < 0, -torch.inf)


def test_outputs_that_are_not_finite_can_be_proven_too():
    record = convert(Masked(), fuse=True, example_inputs=image().float())
    assert record.error == 0.0
