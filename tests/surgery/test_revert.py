"""Converted and reverted, a model is bit for bit what it was."""

import copy
import warnings

import pytest
import torch
from torch import nn

import batchnorm.nn as ours
from batchnorm.errors import SurgeryError
from batchnorm.surgery import convert, freeze, revert, unfreeze
from batchnorm.surgery._convert import _revert
from support.models.foreign import BatchNormAct2d, DetrFrozenBatchNorm2d, FrozenBatchNormAct2d
from support.models.surgery import FrozenBatchNorm2d, Residual, UNet, settle, snapshot

EXTENDED = [ours.BatchNorm1d, ours.BatchNorm2d, ours.BatchNorm3d]


def image(channels=3, side=32):
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, side, side, generator=g)


def transformers_model(name):
    transformers = pytest.importorskip("transformers")
    configurations = {
        "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2]},
        "RegNet": {
            "embedding_size": 8,
            "hidden_sizes": [8, 16, 16, 16],
            "depths": [1] * 4,
            "groups_width": 4,
        },
        "MobileNetV2": {"depth_multiplier": 0.35, "image_size": 32},
        "EfficientNet": {"width_coefficient": 0.2, "depth_coefficient": 0.2, "hidden_dim": 256},
    }
    config = getattr(transformers, f"{name}Config")(num_labels=3, **configurations[name])
    return getattr(transformers, f"{name}ForImageClassification")(config)


MODELS = {
    "ResNet": lambda: transformers_model("ResNet"),
    "RegNet": lambda: transformers_model("RegNet"),
    "MobileNetV2": lambda: transformers_model("MobileNetV2"),
    "EfficientNet": lambda: transformers_model("EfficientNet"),
    "U-Net": UNet,
}


def answer(model):
    """Return what the model gives in evaluation, in training, and its buffers afterwards."""
    twin, x = copy.deepcopy(model), image()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = [twin.eval()(x), twin.train()(x)]
    tensors = [getattr(y, "logits", y) for y in found]
    return [*tensors, *twin.state_dict().values()]


SLOW = pytest.mark.slow
ROUNDS = [(name, False) for name in MODELS] + [
    ("ResNet", True),
    ("U-Net", True),
    *(pytest.param(name, True, marks=SLOW) for name in ("RegNet", "MobileNetV2", "EfficientNet")),
]
UNFUSED = {"MobileNetV2"}  # its activation is ReLU6


@pytest.mark.parametrize(("name", "fuse"), ROUNDS)
def test_there_and_back_is_bit_for_bit_the_same(name, fuse):
    model = settle(MODELS[name]())
    before, answers = snapshot(model), answer(model)
    there = convert(model, fuse=fuse, example_inputs=image() if fuse else None)
    assert not [m for m in model.modules() if type(m) in (nn.BatchNorm1d, nn.BatchNorm2d)]
    if fuse:
        assert any(", with " in row.detail for row in there.done) is (name not in UNFUSED)
    for found, expected in zip(answer(model), answers, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    back = revert(model)
    assert [row.module for row in back.done] == [row.module for row in there.done]
    assert snapshot(model) == before
    for found, expected in zip(answer(model), answers, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", EXTENDED)
def test_a_layer_reverts_to_exactly_torchs(kind):
    layer = kind(3, momentum=None, eps=1e-3)
    plain = getattr(nn, kind.__name__)(3, momentum=None, eps=1e-3)
    layer.freeze(affine=True).unfreeze()  # leaves attributes on the layer
    revert(layer)
    assert type(layer) is type(plain)
    assert vars(layer).keys() == vars(plain).keys()
    assert list(layer._buffers) == list(plain._buffers)
    assert repr(layer) == repr(plain)


def test_lazy_layers_revert_too():
    layer = ours.LazyBatchNorm2d()
    revert(layer)
    assert type(layer) is nn.LazyBatchNorm2d
    layer(torch.randn(2, 3, 4, 4))
    assert type(layer) is nn.BatchNorm2d
    assert layer.num_features == 3


def test_the_reverted_model_is_torchs_alone():
    model = UNet()
    convert(model, fuse=True, example_inputs=image())
    revert(model)
    homes = {type(module).__module__.partition(".")[0] for module in model.modules()}
    assert homes == {"torch", "support"}


def test_sixteen_bits_get_statistics_of_sixteen_bits_back():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).bfloat16()
    convert(model)
    x = torch.randn(2, 3, 5, 5, dtype=torch.bfloat16)
    model(x)
    assert model[1].running_mean.dtype == torch.float32
    revert(model)
    assert model[1].running_mean.dtype == torch.bfloat16
    assert model(x).dtype == torch.bfloat16


class Own(ours.BatchNorm2d):
    pass


def hooked():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    convert(model, fuse=True, example_inputs=image())
    model[1].register_forward_hook(lambda *_: None)
    return model


def watched():
    model = nn.Sequential(ours.BatchNorm2d(3, activation="relu"))
    model[0].register_forward_hook(lambda *_: None)
    return model


REFUSED = [
    (lambda: ours.DomainBatchNorm2d(3, 2, activation="relu"), "it normalizes one of several dom"),
    (watched, "0: its relu has no place: it has hooks, which expect its output behind"),
    (lambda: nn.Sequential(ours.BatchNorm2d(3, debias=True)), "0: torch has no debias=True"),
    (lambda: nn.Sequential(ours.BatchNorm2d(3).freeze()), "0: torch has no frozen=True"),
    (lambda: ours.BatchNorm2d(3).adapt(), "the model: torch has no adapting=True"),
    (lambda: nn.Sequential(ours.BatchNorm2d(3, nonfinite="raise")), "torch has no nonfinite='rai"),
    (lambda: nn.Sequential(ours.BatchNorm2d(3, correction=0)), "torch has no correction=0"),
    (lambda: nn.Sequential(Own(3)), "0: Own is a class of its own"),
    (hooked, "0: there are hooks where its activation was"),
]


@pytest.mark.parametrize(("build", "words"), REFUSED)
def test_what_torch_has_not_is_refused_by_name(build, words):
    model = nn.ModuleDict({"usual": ours.BatchNorm1d(3), "strange": build()})
    before = snapshot(model)
    words = words.replace("0:", "strange.0:").replace("the model", "strange")
    with pytest.raises(SurgeryError, match=words):
        revert(model)
    assert snapshot(model) == before


def test_a_layer_that_does_not_skip_is_torchs():
    layer = ours.BatchNorm1d(3, nonfinite="propagate")
    revert(layer)
    assert type(layer) is nn.BatchNorm1d


def test_an_activation_changed_since_goes_back_as_it_is_now():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    convert(model, fuse=True, example_inputs=image())
    model[0].activation = "silu"
    expected = model(image())
    revert(model)
    assert isinstance(model[1], nn.SiLU)
    torch.testing.assert_close(model(image()), expected)


def test_a_graph_gets_its_calls_back():
    graph = torch.fx.symbolic_trace(settle(Residual(3).double()).eval())
    x = image().double()
    expected = graph(x)
    convert(graph, fuse=True, example_inputs=x)
    assert graph.bn2.activation == "relu"
    revert(graph)
    assert type(graph.bn2) is nn.BatchNorm2d
    assert torch.equal(graph(x), expected)


def test_a_graph_with_a_mask_is_refused():
    graph = torch.fx.symbolic_trace(nn.Sequential(nn.BatchNorm1d(3)))
    convert(graph)
    [node] = graph.graph.find_nodes(op="call_module")
    node.kwargs = {"mask": node.args[0]}
    graph.recompile()
    before = snapshot(graph)
    with pytest.raises(
        SurgeryError, match=r"an input and a residual are needed, got also mask of 0"
    ):
        revert(graph)
    assert snapshot(graph) == before


def test_a_graph_of_a_fused_model_gets_its_activation_back_once():
    model = settle(nn.Sequential(nn.BatchNorm2d(3), nn.SiLU()).double()).eval()
    x = image().double()
    expected = model(x)
    convert(model, fuse=True, example_inputs=x)
    graph = torch.fx.Graph()
    y = graph.call_module("0", (graph.placeholder("x"),))
    graph.output(graph.call_module("1", (y,)))
    traced = torch.fx.GraphModule(model, graph)
    torch.testing.assert_close(traced(x), expected)
    revert(traced)
    assert torch.equal(traced(x), expected)


def test_a_graph_with_a_residual_by_keyword_is_reverted():
    graph = torch.fx.symbolic_trace(settle(nn.Sequential(nn.BatchNorm2d(3)).double()).eval())
    x = image().double()
    expected = graph(x) + x
    convert(graph)
    [node] = graph.graph.find_nodes(op="call_module")
    node.args, node.kwargs = (), {"residual": node.args[0], "input": node.args[0]}
    graph.recompile()
    torch.testing.assert_close(graph(x), expected)
    revert(graph)
    assert torch.equal(graph(x), expected)


def test_a_layer_in_the_middle_of_a_batch_is_refused():
    model = nn.Sequential(ours.BatchNorm1d(3))
    with (
        ours.accumulate_statistics(model),
        pytest.raises(SurgeryError, match="0: it is accumulating statistics"),
    ):
        revert(model)


def test_a_frozen_model_says_what_to_do():
    model = nn.Sequential(ours.BatchNorm1d(3))
    freeze(model)
    with pytest.raises(SurgeryError, match=r"set the option back or unfreeze the layer"):
        revert(model)


def test_a_failure_in_the_middle_restores_the_model(monkeypatch):
    model = settle(UNet())
    convert(model, fuse=True, example_inputs=image())
    before, real, calls = snapshot(model), _revert.change_class, []

    def failing(layer, kind, changes):
        real(layer, kind, changes)
        calls.append(layer)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(_revert, "change_class", failing)
    with pytest.raises(KeyboardInterrupt):
        revert(model)
    assert len(calls) == 3
    assert snapshot(model) == before
    with warnings.catch_warnings():
        model(image())


# --------------------------------------------------------- layers that were made with an activation


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"activation": "relu"}, nn.ReLU),
        ({"activation": "silu"}, nn.SiLU),
        ({"activation": "leaky_relu", "negative_slope": 0.3}, nn.LeakyReLU),
    ],
)
def test_an_activation_that_a_layer_was_made_with_becomes_a_module(options, kind):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), ours.BatchNorm2d(4, **options), nn.Conv2d(4, 2, 1))
    model = settle(model.double()).eval()
    expected, x = model(image().double()), image().double()
    layer, state = model[1], model.state_dict()
    (row,) = revert(model).changes
    assert row.detail == (
        f"to torch.nn.BatchNorm2d, with {options['activation']} behind it; "
        "its state_dict keys move from 1.* to 1.0.*"
    )
    assert [type(part) for part in model[1]] == [nn.BatchNorm2d, kind]
    assert model[1][0] is layer
    assert not any(module.training for module in model.modules())
    assert list(model.state_dict()) == [name.replace("1.", "1.0.", 1) if name[0] == "1" else name
                                        for name in state]  # fmt: skip
    torch.testing.assert_close(model(x), expected)


def test_a_shared_layer_gets_its_activation_at_both_places():
    layer = ours.BatchNorm1d(3, activation="relu")
    model = nn.ModuleDict({"a": layer, "b": nn.Sequential(layer)}).eval()
    (row,) = revert(model).changes
    assert row.detail.endswith("keys move from a.* to a.0.*, b.0.* to b.0.0.*")
    assert model["a"] is model["b"][0]


def test_a_layer_that_is_the_model_has_no_place_for_its_activation():
    layer = ours.BatchNorm1d(3, activation="relu")
    words = "the model: its relu has no place: it is the model itself, wrap it in torch.nn.Sequent"
    with pytest.raises(SurgeryError, match=words):
        revert(layer)
    revert(nn.Sequential(layer))
    assert type(layer) is nn.BatchNorm1d


def test_what_torchs_quantization_fuses():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), ours.BatchNorm2d(4, activation="relu")).eval()
    revert(settle(model))
    expected = model(image())
    fused = torch.ao.quantization.fuse_modules(model, [["0", "1.0", "1.1"]])
    assert type(fused[0]) is torch.ao.nn.intrinsic.ConvReLU2d
    torch.testing.assert_close(fused(image()), expected)


def test_a_call_with_a_residual_is_refused_by_torch_itself():
    model = nn.Sequential(ours.BatchNorm2d(3, activation="relu"))
    revert(model)
    with pytest.raises(TypeError, match="residual"):
        model[0](image(), residual=image())


# ----------------------------------------------------------------------- classes of other packages


def activated(act):
    return lambda: BatchNormAct2d(3, act)


FOREIGN = {
    "ReLU": activated(nn.ReLU(inplace=True)),
    "SiLU": activated(nn.SiLU()),
    "LeakyReLU": activated(nn.LeakyReLU(0.2)),
    "Identity": activated(nn.Identity()),
    "not affine": lambda: BatchNormAct2d(3, nn.ReLU(), affine=False),
    "frozen": lambda: FrozenBatchNorm2d(3, 1e-3),
    "frozen without eps": lambda: DetrFrozenBatchNorm2d(3),
    "frozen with an activation": lambda: FrozenBatchNormAct2d(3, nn.ReLU()),
}


def held(layer):
    """Return what a layer holds, by name and kind."""
    parts = {name: type(part) for name, part in layer.named_modules()}
    plain = {k: v for k, v in vars(layer).items() if isinstance(v, int | float | bool | None)}
    return (
        parts, plain, sorted(vars(layer)), list(layer._parameters), list(layer._buffers),
        {name: module.training for name, module in layer.named_modules()},
    )  # fmt: skip


def copied(model, tmp_path):
    return copy.deepcopy(model)


def pickled(model, tmp_path):
    torch.save(model, tmp_path / "model.pt")
    return torch.load(tmp_path / "model.pt", weights_only=False)


@pytest.mark.parametrize("through", [None, copied, pickled])
@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("training", [True, False])
def test_the_class_of_another_package_comes_back(case, through, training, tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), FOREIGN[case]()).double().train(training)
    settle(model)
    before, state = held(model[1]), model.state_dict()
    expected = answer(nn.Sequential(model.double(), nn.Flatten()).float())
    convert(model)
    assert type(model[1]) is ours.BatchNorm2d
    if through is not None:
        model = through(model, tmp_path)
    (row,) = revert(model).changes
    assert row.detail.startswith("to support.models.")
    assert held(model[1]) == before
    assert list(model.state_dict()) == list(state)
    for found, each in zip(answer(nn.Sequential(model, nn.Flatten())), expected, strict=True):
        assert torch.equal(found, each)


def test_what_was_learned_meanwhile_is_kept():
    model = settle(nn.Sequential(BatchNormAct2d(3, nn.ReLU())))
    convert(model)
    model(image()).sum().backward()
    with torch.no_grad():
        model[0].weight += 1.0
    model[0].activation = "silu"
    expected = model.eval()(image())
    revert(model)
    assert type(model[0]) is BatchNormAct2d
    assert type(model[0].act) is nn.SiLU
    torch.testing.assert_close(model(image()), expected)


def test_a_layer_that_is_no_longer_frozen_becomes_torchs():
    model = settle(nn.Sequential(FrozenBatchNorm2d(3)))
    convert(model)
    unfreeze(model)
    assert revert(model).changes[0].detail == "to torch.nn.BatchNorm2d"
    assert model[0].weight.requires_grad


def test_an_activation_that_convert_fused_into_another_packages_layer():
    model = settle(nn.Sequential(BatchNormAct2d(3), nn.ReLU()).double())
    before, expected = held(model), answer(nn.Sequential(model, nn.Flatten()).float())
    convert(model, fuse=True, example_inputs=image())
    assert model[0].activation == "relu"
    revert(model)
    assert held(model) == before
    for found, each in zip(answer(nn.Sequential(model, nn.Flatten())), expected, strict=True):
        assert torch.equal(found, each)


@pytest.mark.parametrize("residual", [True, False])
def test_another_packages_layer_in_a_graph(residual):
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_module("bn", (x, x) if residual else (x,)))
    model = settle(nn.ModuleDict({"bn": BatchNormAct2d(3, nn.ReLU())}).double()).eval()
    convert(model)
    traced = torch.fx.GraphModule(model, graph)
    expected = traced(image().double())
    revert(traced)
    assert type(traced.bn) is (nn.BatchNorm2d if residual else BatchNormAct2d)
    torch.testing.assert_close(traced(image().double()), expected)


def test_a_failure_behind_another_packages_layer_restores_it(monkeypatch):
    model = settle(
        nn.Sequential(BatchNormAct2d(3, nn.ReLU()), FrozenBatchNorm2d(3), nn.BatchNorm2d(3))
    )
    convert(model)
    expected, before = model.eval()(image()), snapshot(model)

    def failing(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_revert, "change_class", failing)
    with pytest.raises(KeyboardInterrupt):
        revert(model)
    assert snapshot(model) == before
    assert torch.equal(model(image()), expected)
