"""Layers of torch become ours in place: the same objects, the same state, the same numbers."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import batchnorm.nn as ours
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.surgery import convert
from batchnorm.surgery._convert import _convert
from support.models.surgery import Residual, UNet, settle, snapshot

PAIRS = [
    (nn.BatchNorm1d, ours.BatchNorm1d, (8, 3)),
    (nn.BatchNorm1d, ours.BatchNorm1d, (4, 3, 5)),
    (nn.BatchNorm2d, ours.BatchNorm2d, (4, 3, 5, 4)),
    (nn.BatchNorm3d, ours.BatchNorm3d, (2, 3, 4, 3, 2)),
]
OPTIONS = [
    {},
    {"affine": False},
    {"bias": False},
    {"track_running_stats": False},
    {"momentum": None},
    {"momentum": 0.3, "eps": 1e-2},
]
LAZY = [
    (nn.LazyBatchNorm1d, ours.LazyBatchNorm1d, ours.BatchNorm1d, (8, 3)),
    (nn.LazyBatchNorm2d, ours.LazyBatchNorm2d, ours.BatchNorm2d, (2, 3, 5, 5)),
    (nn.LazyBatchNorm3d, ours.LazyBatchNorm3d, ours.BatchNorm3d, (2, 3, 2, 3, 3)),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("theirs", "mine", "shape"), PAIRS, ids=str)
def test_a_converted_layer_gives_what_it_gave(theirs, mine, shape, options):
    layer = settle(theirs(3, dtype=torch.float64, **options))
    twin, model = copy.deepcopy(layer), nn.Sequential(layer)
    convert(model)
    assert type(layer) is mine
    for step, training in enumerate((True, False, True)):
        x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        torch.testing.assert_close(
            model.train(training)(x), twin.train(training)(x), rtol=0, atol=1e-12
        )
    assert list(layer.state_dict()) == list(twin.state_dict())
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], value, rtol=1e-12, atol=1e-12)


def test_everything_that_a_layer_holds_is_the_same_object():
    model = settle(UNet())
    model.down[1].eval()
    model.head[1].requires_grad_(False)
    model.up_norm.note = ["mine"]
    held = [(dict(m._parameters), dict(m._buffers), m.training) for m in model.modules()]
    before, note = dict(model.named_modules()), model.up_norm.note
    convert(model)
    assert dict(model.named_modules()) == before
    assert model.up_norm.note is note
    for module, (parameters, buffers, training) in zip(model.modules(), held, strict=True):
        assert module.training is training
        for name, tensor in (parameters | buffers).items():
            assert getattr(module, name) is tensor
    assert not model.down[1].training
    assert not model.head[1].weight.requires_grad


def test_hooks_go_on_working():
    layer, calls = nn.BatchNorm1d(3), []

    def note(word):
        return lambda *_: calls.append(word)

    layer.register_forward_pre_hook(note("before"))
    layer.register_forward_hook(note("after"))
    layer.register_full_backward_pre_hook(note("backward"))
    layer.register_full_backward_hook(note("gradient"))
    layer.register_state_dict_post_hook(note("saved"))
    layer.register_load_state_dict_pre_hook(note("load"))
    layer.register_load_state_dict_post_hook(note("loaded"))
    layer.weight.register_hook(note("weight"))
    convert(layer)
    layer(torch.randn(8, 3, requires_grad=True)).sum().backward()
    layer.load_state_dict(layer.state_dict())
    assert sorted(calls) == sorted(
        ["before", "after", "backward", "gradient", "weight", "saved", "load", "loaded"]
    )


def test_a_shared_layer_stays_shared_and_is_told_once():
    shared = nn.BatchNorm1d(3)
    model = nn.ModuleDict({"a": nn.Sequential(nn.Linear(3, 3), shared), "b": shared})
    [change] = convert(model).changes
    assert change.module == "a.1, b"
    assert model["a"][1] is model["b"] is shared
    assert type(shared) is ours.BatchNorm1d


def test_a_layer_can_be_the_model():
    layer = nn.BatchNorm2d(3)
    assert str(convert(layer)).splitlines()[-1].startswith("(the model)  converted")
    assert type(layer) is ours.BatchNorm2d


def test_lists_of_the_user_that_hold_a_layer_hold_the_converted_one():
    model = UNet()
    model.watched = [model.up_norm]
    convert(model)
    assert type(model.watched[0]) is ours.BatchNorm2d


@pytest.mark.parametrize(("theirs", "mine", "after", "shape"), LAZY, ids=str)
def test_lazy_layers_stay_lazy_until_they_see_a_batch(theirs, mine, after, shape):
    layer = theirs(momentum=0.3)
    weight = layer.weight
    convert(layer)
    assert type(layer) is mine
    assert layer.has_uninitialized_params()
    x = torch.randn(shape)
    assert layer(x).shape == shape
    assert type(layer) is after
    assert layer.weight is weight
    assert (layer.num_features, layer.momentum) == (3, 0.3)
    expected = 0.3 * x.transpose(0, 1).flatten(1).mean(1)
    torch.testing.assert_close(layer.running_mean, expected)


def test_lazy_layers_load_a_state():
    layer, other = nn.LazyBatchNorm1d(), settle(nn.BatchNorm1d(3))
    convert(layer)
    layer.load_state_dict(other.state_dict())
    layer(torch.randn(4, 3))
    assert type(layer) is ours.BatchNorm1d
    assert layer.num_batches_tracked == 1


def test_an_optimizer_made_before_trains_the_converted_model():
    model = settle(UNet().double())
    twin = copy.deepcopy(model)
    optimizers = [torch.optim.Adam(m.parameters(), lr=1e-2) for m in (model, twin)]
    convert(model)
    losses = []
    for step in range(6):
        g = torch.Generator().manual_seed(step)
        x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=g)
        row = []
        for network, optimizer in zip((model, twin), optimizers, strict=True):
            loss = (network(x) - x[:, :2]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            row.append(loss.item())
        losses.append(row)
    assert losses[-1][0] < losses[0][0]
    for found, expected in losses:
        assert found == pytest.approx(expected, rel=1e-9)


def test_converting_twice_does_nothing():
    model = convert_of(UNet())
    before = snapshot(model)
    assert convert(model).changes == ()
    assert snapshot(model) == before


def test_copies_and_files_of_a_converted_model_work():
    model = convert_of(settle(UNet())).eval()
    x = torch.randn(2, 3, 8, 8)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(other(x), model(x))


def test_other_normalizations_are_not_touched():
    model = nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True), nn.GroupNorm(1, 3))
    before = snapshot(model)
    assert convert(model).changes == ()
    assert snapshot(model) == before


def test_a_model_without_memory_is_converted():
    model = nn.Sequential(nn.BatchNorm1d(3, device="meta"))
    convert(model)
    assert model(torch.empty(4, 3, device="meta")).shape == (4, 3)


def test_sixteen_bits_train():
    model = convert_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).bfloat16())
    y = model(torch.randn(2, 3, 5, 5, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
    assert model[1].running_mean.dtype == torch.float32


class Doubled(nn.BatchNorm1d):
    def forward(self, x):
        return 2 * super().forward(x)


class Kept(nn.Module):
    """Statistics like those of batch normalization, in a class of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))
        self.register_buffer("running_var", torch.ones(3))


def patched():
    layer = nn.BatchNorm1d(3)
    layer.forward = lambda x: x
    return layer


def clashing():
    layer = nn.BatchNorm1d(3)
    layer.frozen = True
    return layer


UNKNOWN = [
    (lambda: Doubled(3), r"strange: .*\.Doubled may have a forward of its own"),
    (Kept, r"strange: .*\.Kept may have a forward"),
    (patched, "strange: its forward was replaced on the instance"),
    (clashing, "strange: it has attributes of its own that our layer uses: frozen"),
]


@pytest.mark.parametrize(("build", "words"), UNKNOWN)
def test_an_unknown_layer_is_refused_by_name_before_anything_changes(build, words):
    model = nn.ModuleDict({"usual": nn.BatchNorm1d(3), "strange": build()})
    before = snapshot(model)
    with pytest.raises(SurgeryError, match=rf"known class are needed, got also others .*{words}"):
        convert(model)
    assert snapshot(model) == before


@pytest.mark.parametrize(("build", "words"), UNKNOWN)
def test_an_unknown_layer_can_be_left_alone(build, words):
    model = nn.ModuleDict({"usual": nn.BatchNorm1d(3), "strange": build()})
    kind = type(model["strange"])
    record = convert(model, unknown="leave")
    assert [change.module for change in record.done] == ["usual"]
    assert [change.module for change in record.left] == ["strange"]
    assert type(model["strange"]) is kind


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_a_scripted_layer_is_refused():
    model = nn.Sequential(nn.BatchNorm1d(3), torch.jit.script(nn.BatchNorm1d(3)))
    with pytest.raises(SurgeryError, match=r"1: torch.jit has compiled it, convert before"):
        convert(model)
    assert type(model[0]) is nn.BatchNorm1d


LEFT_ALONE = [
    (nn.SyncBatchNorm, "no synchronized layer of ours"),
    (lambda c: parametrizations.spectral_norm(nn.BatchNorm1d(c), dim=0), "it has parametrizations"),
]


@pytest.mark.parametrize(("build", "words"), LEFT_ALONE)
def test_a_known_layer_without_counterpart_is_left_alone_with_the_reason(build, words):
    model = nn.Sequential(build(3), nn.BatchNorm1d(3))
    kind = type(model[0])
    record = convert(model)
    assert type(model[0]) is kind
    assert [change.module for change in record.left] == ["0"]
    assert words in record.left[0].detail
    assert [change.module for change in record.done] == ["1"]


def test_a_failure_in_the_middle_restores_the_model(monkeypatch):
    model = settle(Residual(3))
    before, real, calls = snapshot(model), _convert.change_class, []

    def failing(module, kind, changes):
        real(module, kind, changes)
        calls.append(module)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_convert, "change_class", failing)
    with pytest.raises(KeyboardInterrupt):
        convert(model)
    assert len(calls) == 2
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unknown": "skip"}, "unknown must be 'refuse' or 'leave', got 'skip'"),
        ({"fuse": True}, "fuse needs example_inputs, got None"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        convert(nn.BatchNorm1d(3), **options)


def convert_of(model):
    convert(model)
    return model
