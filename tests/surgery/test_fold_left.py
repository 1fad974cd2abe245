"""What fold leaves alone, and says why; what it refuses, before anything has changed."""

import re
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import batchnorm.nn as ours
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.surgery import fold
from support.models.surgery import ByValue, settle, snapshot

X = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution and a layer, joined by the function given; what else it needs is added."""

    def __init__(self, join, norm=None, **more):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), norm or nn.BatchNorm2d(4)
        for name, module in more.items():
            self.add_module(name, module)
        self.join = join

    def forward(self, x):
        return self.join(self, x)


def straight(m, x):
    return m.norm(m.conv(x))


def hooked(name):
    def build():
        model = Net(straight, holder=nn.Identity())
        model.get_submodule(name).register_forward_hook(lambda *_: None)
        return model

    return build


def watched():
    model = Net(lambda m, x: m.norm(m.part(x)))
    model.part = nn.Sequential(model.conv)
    model.part.register_forward_hook(lambda *_: None)
    return model


def passed_by():
    model = Net(lambda m, x: m.norm(m.look(m.conv(x))), look=nn.Identity())
    model.look.register_forward_pre_hook(lambda *_: None)
    return model


def watched_between_two_layers():
    model = Net(lambda m, x: m.norm(m.look(m.first(m.conv(x)))), look=nn.Identity())
    model.first = nn.BatchNorm2d(4)
    model.look.register_forward_hook(lambda *_: None)
    return model


def parametrized(name):
    def build():
        model = Net(straight)
        if name == "conv":
            parametrizations.weight_norm(model.conv)
        else:
            nn.utils.parametrize.register_parametrization(model.norm, "weight", nn.Softplus())
        return model

    return build


def old_weight_norm():
    model = Net(straight)
    with pytest.warns(FutureWarning, match="weight_norm"):
        nn.utils.weight_norm(model.conv)
    return model


def tied():
    model = Net(lambda m, x: m.norm(m.conv(x)) + m.other(x), other=nn.Conv2d(4, 4, 3, padding=1))
    model.other.weight = model.conv.weight
    return model


def tied_to_what_is_not_called():
    model = Net(straight, other=nn.Conv2d(4, 4, 3))
    model.other.weight = model.conv.weight
    return model


def overflowing():
    model = Net(straight).half()
    model.norm.float()
    return model


class Scaled(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) ** 2


class Conditioned(nn.BatchNorm2d):
    def forward(self, x, label):
        return super().forward(x) * label


class LastDimension(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x.transpose(1, 3)).transpose(1, 3)


class ScaledConv(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight * 2, bias)


def scaled_conv():
    model = Net(straight)
    model.conv = ScaledConv(4, 4, 3)
    return model


def replaced_forward():
    model = Net(straight)
    model.conv.forward = lambda x: F.conv2d(x, model.conv.weight.sign(), padding=1)
    return model


class FullPrecision(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).double()


LEFT = {
    "relu between": (
        lambda: Net(lambda m, x: m.norm(F.relu(m.conv(x)))),
        "its input comes from relu, its output goes to the model's output",
    ),
    "a module between": (
        lambda: Net(lambda m, x: m.norm(m.act(m.conv(x))), act=nn.ReLU()),
        "its input comes from act .relu.",
    ),
    "the result is used twice": (
        lambda: Net(lambda m, x: m.norm(y := m.conv(x)) + y),
        "its input comes from conv .conv2d., which serves others too",
    ),
    "the result is returned too": (
        lambda: Net(lambda m, x: (m.norm(y := m.conv(x)), y)),
        "serves others too",
    ),
    "changed in place afterwards": (
        lambda: Net(lambda m, x: (m.norm(y := m.conv(x)), y.add_(1.0))[0]),
        "serves others too",
    ),
    "layer called twice": (
        lambda: Net(lambda m, x: m.norm(m.norm(m.conv(x)))),
        "it is called more than once",
    ),
    "linear map called twice": (
        lambda: Net(lambda m, x: m.norm(m.conv(m.conv(x)))),
        "conv, which is called more than once",
    ),
    "layer not called": (lambda: Net(lambda m, x: m.conv(x)), "it is not called"),
    "residual": (
        lambda: Net(lambda m, x: m.norm(m.conv(x), x), ours.BatchNorm2d(4)),
        "it is called with more than its input",
    ),
    "conditioned": (
        lambda: Net(lambda m, x: m.norm(m.conv(x), 2), Conditioned(4)),
        "it is called with more than its input",
    ),
    "of the last dimension": (
        lambda: Net(lambda m, x: m.norm(m.conv(x)), LastDimension(6)),
        "it does more than scale and shift every channel",
    ),
    "no running statistics": (
        lambda: Net(straight, nn.BatchNorm2d(4, track_running_stats=False)),
        "it keeps no running statistics: it always normalizes with the batch",
    ),
    "a forward of its own": (
        lambda: Net(straight, Scaled(4)),
        "it does more than scale and shift every channel",
    ),
    "dtype": (lambda: Net(straight, FullPrecision(4)), "or changes the dtype"),
    "hook on the layer": (hooked("norm"), "it has hooks"),
    "hook on the linear map": (hooked("conv"), "conv, which has hooks"),
    "hook on what returns the result": (watched, "conv, but is watched by a hook of part"),
    "hook on what hands it on": (passed_by, "conv, but is watched by a hook of look"),
    "parametrized linear map": (parametrized("conv"), "conv, which has parametrizations"),
    "parametrized layer": (parametrized("norm"), "it has parametrizations"),
    "weight norm by hooks": (old_weight_norm, "conv, which has hooks"),
    "shared weight": (tied, "conv, which shares parameters with another module"),
    "weight of two modules": (
        tied_to_what_is_not_called,
        "conv, which shares parameters with another module",
    ),
    "weight read elsewhere": (
        lambda: Net(lambda m, x: m.norm(m.conv(x)) * m.conv.weight.norm()),
        "conv, which has parameters or buffers that something else reads",
    ),
    "statistics read elsewhere": (
        lambda: Net(lambda m, x: m.norm(m.conv(x)) * m.norm.running_var.sum()),
        "it has parameters or buffers that something else reads",
    ),
    "called past its hooks": (
        lambda: Net(lambda m, x: m.norm(m.conv.forward(x))),
        "its input comes from conv2d,",
    ),
    "another convolution": (scaled_conv, "its input comes from conv .module.|from conv,"),
    "forward of the instance": (replaced_forward, "its input comes from conv"),
}


@pytest.mark.parametrize("case", LEFT, ids=str)
def test_left_alone(case):
    build, reason = LEFT[case]
    model = settle(build()).eval()
    before = snapshot(model)
    record = fold(model, X)
    assert record.done == ()
    (left,) = record.left
    assert left.module == "norm"
    assert re.search(reason, left.detail), left.detail
    assert snapshot(model) == before
    assert record.largest_error is None


@pytest.mark.parametrize("shape", [(2, 5, 4), (2, 4, 4)], ids=str)
def test_linear_on_sequences_normalizes_another_dimension_than_it_has_features_in(shape):
    """(N, L, C) from the linear map is (N, C, L) to BatchNorm1d, even where both are equal."""
    model = settle(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(shape[1]))).eval()
    (left,) = fold(model, torch.randn(shape)).left
    assert "whose features are in another dimension than the layer's channels" in left.detail
    model = settle(nn.Sequential(nn.BatchNorm1d(shape[1]), nn.Linear(4, 4))).eval()
    (left,) = fold(model, torch.randn(shape)).left
    assert "whose features are in another dimension than the layer's channels" in left.detail


@pytest.mark.parametrize(
    "join",
    [
        lambda m, x: m.norm(m.fc(x)),
        lambda m, x: m.norm(m.fc(x).transpose(0, 1)),
        lambda m, x: m.norm(m.fc(x).flatten(1)),
        lambda m, x: m.norm(m.fc(x).transpose(1, 2).transpose(0, 1)),
        lambda m, x: m.norm(m.fc(x).transpose(1, 2).reshape(8, 4, 2)),
    ],
    ids=["plain", "batch", "flat", "and on", "mixed"],
)
def test_linear_on_sequences_whose_features_end_up_elsewhere(join):
    channels = 16 if "flatten" in join.__code__.co_names else 4
    model = Net(join, nn.BatchNorm1d(channels), fc=nn.Linear(4, 4))
    (left,) = fold(settle(model).eval(), torch.randn(4, 4, 4)).left
    assert "whose features are in another dimension than the layer's channels" in left.detail


def test_moved_values_are_not_touched_where_a_hook_may_see_them():
    model = Net(lambda m, x: m.norm(m.look(m.conv(x).flatten(2))), nn.BatchNorm1d(4))
    model.look = nn.Identity()
    model.look.register_forward_hook(lambda *_: None)
    (left,) = fold(settle(model).eval(), X).left
    assert "conv, but may be watched by a hook of look" in left.detail


def test_an_image_without_a_batch_dimension():
    model = settle(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm1d(5))).eval()
    (left,) = fold(model, torch.randn(3, 5, 6)).left
    assert "whose features are in another dimension" in left.detail


def test_a_layer_whose_scale_is_infinite():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, eps=0.0)).eval()
    model[1].running_var[0] = 0.0
    (left,) = fold(model, torch.randn(4, 3)).left
    assert left.detail == "its scale or shift is not finite"


def test_weights_beyond_the_range_of_the_dtype():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, eps=0.0)).eval().half()
    with torch.no_grad():
        model[0].weight.fill_(1e-3)
        model[1].running_var.fill_(1e-7)
        model[1].weight.fill_(6e4)
    (left,) = fold(model, torch.randn(4, 3).half()).left
    assert "0, whose weights would not be finite in torch.float16" in left.detail


def test_the_model_itself():
    model = nn.BatchNorm1d(3).eval()
    (left,) = fold(model, torch.randn(4, 3)).left
    assert (left.module, left.detail) == ("", "it is the model itself")


def test_a_hook_between_two_layers_sees_what_it_saw():
    model = settle(watched_between_two_layers()).eval()
    expected = model.first(model.conv(X))
    record = fold(model, X)
    assert [change.module for change in record.done] == ["first"]
    assert [change.module for change in record.left] == ["norm"]
    torch.testing.assert_close(model.first(model.conv(X)), expected)


def test_layers_without_running_statistics_may_train():
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3), ours.BatchNorm2d(4).freeze(), nn.ReLU(), nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4, track_running_stats=False),
    )  # fmt: skip
    record = fold(model.train(), X)
    assert [change.module for change in record.done] == ["1"]
    assert [change.module for change in record.left] == ["4"]


def test_one_of_several_domains():
    """The convolution serves all of them, and another is called another time."""
    model = Net(lambda m, x: m.norm(m.conv(x), 1), ours.DomainBatchNorm2d(4, 2)).eval()
    before = snapshot(model)
    record = fold(model, (X,))
    assert [(row.module, row.detail) for row in record.changes] == [
        ("norm.domains.0", "it is not called"),
        (
            "norm.domains.1",
            "it normalizes one of several domains, and the others would change with it",
        ),
    ]
    assert snapshot(model) == before


def test_others_are_folded_all_the_same():
    model = nn.Sequential(
        nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
    )
    record = fold(settle(model).eval(), X)
    assert [change.module for change in record.done] == ["3"]
    assert [change.module for change in record.left] == ["0"]


def refused(model, match, x=X, error=SurgeryError, **options):
    before, random = snapshot(model), torch.get_rng_state()
    with pytest.raises(error, match=match):
        fold(model, x, **options)
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, ours.BatchNorm2d, nn.SyncBatchNorm, Scaled])
def test_training_is_refused(norm):
    model = settle(nn.Sequential(nn.Conv2d(4, 4, 3), norm(4)))
    refused(model, r"needed, got 1 in training mode \(1\): call model.eval\(\), or freeze them")


@pytest.mark.parametrize("norm", [nn.LazyBatchNorm2d, ours.LazyBatchNorm2d])
def test_lazy_modules_are_refused(norm):
    model = nn.Sequential(nn.LazyConv2d(4, 3), norm()).eval()
    with pytest.raises(SurgeryError, match="got the lazy LazyConv2d '0': pass one batch"):
        fold(model, X)
    model(X)
    assert len(fold(model, X).done) == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_torchscript_is_refused():
    norm = nn.BatchNorm2d(4).eval()
    with pytest.raises(SurgeryError, match=r"got TorchScript \(norm\): fold first, then script"):
        fold(Net(straight, torch.jit.script(norm)).eval(), X)
    with pytest.raises(SurgeryError, match="a model in Python is needed, got TorchScript"):
        fold(torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 1), norm)), X)


def test_an_adapting_layer_takes_the_statistics_of_the_batch():
    model = settle(Net(straight, ours.BatchNorm2d(4).adapt())).eval()
    (left,) = fold(model, X).left
    assert left.detail == "it is adapting: it normalizes with the batch"


def test_a_model_that_cannot_be_traced(capfd):
    refused(settle(ByValue()).eval(), "GuardOnDataDependentSymNode .*name the modules", X[:, :3])
    assert capfd.readouterr() == ("", "")


def test_inputs_of_an_unknown_kind():
    model = settle(Net(straight)).eval()
    refused(model, "needs to be a tensor, a tuple .* got str", x="x", error=OptionError)


def test_inputs_that_do_not_fit_raise_what_the_model_raises():
    model = settle(Net(straight)).eval()
    refused(model, "expected input.* to have 4 channels", X[:, :3], RuntimeError)


def test_a_model_that_returns_no_floating_tensor():
    refused(settle(Net(lambda m, x: m.norm(m.conv(x)).argmax())).eval(), "got none")


def test_a_model_that_insists_on_float32():
    model = settle(Net(lambda m, x: m.norm(m.conv(x.float())))).eval()
    refused(model, "a model that also runs in float64, and on random inputs, is needed")


def test_a_forward_that_needs_the_layer_itself():
    model = settle(Net(lambda m, x: m.norm(m.conv(x.to(m.norm.weight.dtype))))).eval()
    words = "does without what the change takes away is needed, got AttributeError .*'weight'"
    refused(model, words)


def test_a_model_that_refuses_random_inputs():
    def join(m, x):
        torch._assert_async((x >= 0).all())
        return straight(m, x)

    model = settle(Net(join)).eval()
    refused(model, "random_inputs=False", X.abs())
    assert len(fold(model, X.abs(), random_inputs=False).done) == 1


def test_a_model_that_keeps_a_result_with_its_graph():
    model = settle(Net(straight)).eval()
    model.kept = model.conv(X)
    assert len(fold(model, X).done) == 1
    assert model.kept.requires_grad


def test_a_model_that_cannot_be_copied():
    model = settle(Net(straight)).eval()
    model.lock = threading.Lock()
    refused(model, "copy.deepcopy can copy is needed, got TypeError")
