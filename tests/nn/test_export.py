"""torch.export, ONNX, torch.jit.trace and torch.fx: programs that run without this package."""

import copy
import io

import onnx
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from batchnorm import nn, reference
from batchnorm.errors import OptionError
from batchnorm.nn import BatchNorm1d, BatchNorm2d
from support.layers.laws import array
from support.models.networks import Block, images, layers, resnet
from support.models.onnx import Exported, dynamo_or_torchscript, quiet

# Of PyTorch's own, whenever it copies the description of a program.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning"
)
WAYS = [
    (True, {"debias": True, "activation": "silu"}),
    pytest.param(False, {"momentum": None}, marks=pytest.mark.slow),
    *(
        pytest.param(strict, options, marks=pytest.mark.slow)
        for strict in (True, False)
        for options in ({}, {"activation": "leaky_relu"}, {"affine": False}, {"momentum": 1.0})
    ),
]
TRAINING = [
    (True, {"activation": "silu"}),
    (False, {}),
    *(
        pytest.param(strict, options, marks=pytest.mark.slow)
        for strict in (True, False)
        for options in ({"activation": "leaky_relu"}, {"affine": False}, {"momentum": 1.0})
    ),
]
BATCH = ({0: torch.export.Dim("batch", min=2)},)


def trained(options=None, *, frozen=False, training=False):
    """Return a network after a few batches."""
    model = resnet(**(options or {}))
    for seed in range(3):
        model(images(8, seed=seed) + 0.5)
    for layer in layers(model):
        if frozen:
            layer.freeze()
    return model.train(training)


def targets(program):
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


def round_trip(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


# ---------------------------------------------------------------------------- torch.export


@pytest.mark.parametrize(("strict", "options"), WAYS, ids=str)
def test_an_evaluated_network(strict, options):
    """One program for every batch size, made of PyTorch's own operators, saved and loaded."""
    model = trained(options)
    program = torch.export.export(model, (images(4),), strict=strict, dynamic_shapes=BATCH)
    assert not any(target.startswith("batchnorm") for target in targets(program))
    assert program.graph_signature.buffers_to_mutate == {}
    loaded = round_trip(program).module()
    for size in (2, 7):
        x = images(size, seed=size)
        torch.testing.assert_close(loaded(x), model(x), rtol=1e-5, atol=1e-5)


def test_an_evaluated_layer_is_one_operator():
    """What exporters fold into the convolution before it, and nothing beside it."""
    model = BatchNorm2d(3).eval()
    program = torch.export.export(model, (images(4),))
    assert targets(program) == {"aten.batch_norm.default"}


@pytest.mark.parametrize(("strict", "options"), TRAINING, ids=str)
def test_a_network_in_training(strict, options):
    """Torch's operator for each layer, which others find; the program moves the statistics."""
    model = trained(options, training=True)
    program = torch.export.export(model, (images(4),), strict=strict, dynamic_shapes=BATCH)
    norms = [n for n in program.graph.nodes if n.target is torch.ops.aten.batch_norm.default]
    assert len(norms) == len(layers(model))
    moved = set(program.run_decompositions().graph_signature.buffers_to_mutate.values())
    assert moved == set(dict(model.named_buffers())) & set(model.state_dict())
    assert not any(target.startswith("batchnorm") for target in targets(program))
    loaded = round_trip(program).module()
    for size in (2, 7):
        x = images(size, seed=size)
        torch.testing.assert_close(loaded(x), model(x), rtol=1e-5, atol=1e-5)
    theirs, ours = dict(loaded.named_buffers()), dict(model.named_buffers())
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def test_an_exported_program_trains_on():
    """Gradients pass through the program, with respect to its own parameters."""
    model = trained(training=True)
    program = torch.export.export(model, (images(6),)).module()
    found = []
    for call in (program, model):
        x = images(6).requires_grad_()
        call(x).square().mean().backward()
        found.append([x.grad, *(p.grad for p in call.parameters())])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def switched(program):
    """Switch a program to evaluation, as tools for quantization do: by torch's operator."""
    found = 0
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.batch_norm.default:
            node.args, found = (*node.args[:5], False, *node.args[6:]), found + 1
    program.recompile()
    return found


RELATIVES = {
    "plain": lambda: BatchNorm2d(8),
    "activation": lambda: BatchNorm2d(8, activation="silu"),
    "ghost": lambda: nn.GhostBatchNorm2d(8, 2),
    "frozen": lambda: BatchNorm2d(8).freeze(),
    "bfloat16": lambda: BatchNorm2d(8).bfloat16(),
}


@pytest.mark.parametrize("name", RELATIVES)
def test_a_program_in_training_can_be_switched_to_evaluation(name):
    layer = RELATIVES[name]()
    dtype = layer.weight.dtype
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, dtype=dtype), layer)
    for seed in range(3):
        model(images(8, seed=seed).to(dtype) + 1)
    x = images(4).to(dtype)
    program = torch.export.export(model.train(), (x,)).module()
    assert switched(program) >= 1
    before = {name: buffer.clone() for name, buffer in program.named_buffers()}
    bound = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(program(x), model.eval()(x), rtol=bound, atol=bound)
    for own, buffer in program.named_buffers():
        assert "num_batches" in own or torch.equal(buffer, before[own])


REFUSED = {
    "debias": (lambda: BatchNorm2d(3, debias=True), {}, "got debias=True: export after eval"),
    "correction": (lambda: BatchNorm2d(3, correction=0), {}, "got correction=0"),
    "cumulative": (lambda: BatchNorm2d(3, momentum=None), {}, "got momentum=None"),
    "raise": (lambda: BatchNorm2d(3, nonfinite="raise"), {}, "got nonfinite='raise'"),
    "mask": (lambda: BatchNorm2d(3), {"mask": torch.ones(4, 8, 8).bool()}, "got a mask"),
    "weights": (lambda: BatchNorm2d(3), {"sample_weight": torch.ones(4)}, "or sample_weight"),
    "renorm": (lambda: nn.BatchRenorm2d(3), {}, "got BatchRenorm2d, .* eval"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_torch_s_operator_cannot_say_is_refused_in_training_and_exported_in_evaluation(name):
    make, given, message = REFUSED[name]
    layer, x = make(), images(4)
    layer(x)
    with pytest.raises(OptionError, match=message):
        torch.export.export(layer, (x,), given)
    program = torch.export.export(layer.eval(), (x,), given).module()
    torch.testing.assert_close(program(x, **given), layer(x, **given), rtol=1e-5, atol=1e-5)


def test_without_running_statistics_a_program_holds_plain_operations():
    """There is no evaluation to switch to, so that nothing may be found."""
    x = (torch.randn(64, 4, 12, dtype=torch.float64) + 1e4).float()
    for layer in (BatchNorm1d(4, track_running_stats=False), BatchNorm1d(4).eval().adapt()):
        program = torch.export.export(layer, (x,))
        assert "aten.batch_norm.default" not in targets(program)
        wanted = reference.forward(array(x)).y
        assert abs(array(program.module()(x)) - wanted).max() <= 2e-6


def test_16_bits():
    model = trained().bfloat16()
    x = images(4, dtype=torch.bfloat16)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x), rtol=0.05, atol=0.05)


# ------------------------------------------------------------------------------------ ONNX


def through(marks):
    def decorate(test):
        for mark in marks:
            test = mark(test)
        return test

    return decorate


@through(quiet)
@dynamo_or_torchscript
@pytest.mark.parametrize(
    ("options", "frozen"),
    [
        pytest.param({"activation": "leaky_relu"}, False, marks=pytest.mark.slow),
        ({"debias": True, "activation": "silu"}, False),
        pytest.param({}, True, marks=pytest.mark.slow),
        pytest.param({"momentum": None, "activation": "silu"}, True, marks=pytest.mark.slow),
        pytest.param({"affine": False}, False, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_onnx(options, frozen, dynamo):
    """Trained, activated, with a residual, frozen in training: the same outputs, any batch size."""
    model = trained(options, frozen=frozen, training=frozen)
    exported = Exported(model, images(4), dynamo=dynamo)
    for size in (2, 7):
        x = images(size, seed=size)
        torch.testing.assert_close(exported(x), model(x).detach(), rtol=1e-5, atol=1e-5)


@through(quiet)
@dynamo_or_torchscript
def test_onnx_folds_the_layer_into_the_convolution(dynamo):
    """As it does torch's own, so the graph has to have nothing between the two."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), BatchNorm2d(4, activation="relu"))
    x = images(4)
    model(x)
    exported = Exported(model.eval(), x, dynamo=dynamo)
    assert exported.operators == {"Conv", "Relu"}


@through(quiet)
@dynamo_or_torchscript
@pytest.mark.parametrize(
    "way",
    ["training", *(pytest.param(way, marks=pytest.mark.slow) for way in ("untracked", "adapting"))],
)
def test_onnx_of_the_batch_s_statistics(way, dynamo):
    """Plain float32 operations, which every runtime has, with the right result.

    Exporters write torch's layer as a BatchNormalization in training mode, which runtimes refuse
    (pytorch#75252), or as one that takes the running statistics, which is another function.
    """
    options = {"track_running_stats": False} if way == "untracked" else {}
    layer = BatchNorm2d(3, activation="leaky_relu", **options).train(way == "training")
    if way == "adapting":
        layer.adapt()
    x = images(4) + 5
    wanted = copy.deepcopy(layer)(x).detach()
    exported = Exported(torch.nn.Sequential(layer), x, dynamo=dynamo)
    assert "BatchNormalization" not in exported.operators
    assert onnx.TensorProto.DOUBLE not in {i.data_type for i in exported.graph.initializer}
    torch.testing.assert_close(exported(x), wanted, rtol=1e-5, atol=1e-5)
    if way == "training":
        assert len(exported.graph.output) == 1, "a graph keeps no statistics"


class OnlyThroughDynamo(torch.nn.Module):
    """A model that the exporter captures at its second try."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        if not torch.compiler.is_dynamo_compiling():
            raise ValueError("not in this way")
        return self.layer(x)


@pytest.mark.slow
@through(quiet)
def test_onnx_of_the_batch_s_statistics_at_the_exporter_s_second_try():
    """There torch itself says that nothing is exported to ONNX."""
    layer, x = BatchNorm2d(3), images(4) + 5
    wanted = copy.deepcopy(layer)(x).detach()
    exported = Exported(OnlyThroughDynamo(layer), x, dynamo=True)
    torch.testing.assert_close(exported(x), wanted, rtol=1e-5, atol=1e-5)


@through(quiet)
def test_onnx_of_torch_s_layer_in_training_is_another_function():
    """Silently: normalized with the running statistics, so by 5 off on inputs around 5."""
    layer, x = torch.nn.BatchNorm2d(3), images(4) + 5
    wanted = copy.deepcopy(layer)(x).detach()
    error = (Exported(layer, x, dynamo=True)(x) - wanted).abs().max()
    assert error > 4


# --------------------------------------------------------------------- torch.jit, torch.fx


@pytest.mark.parametrize("tracing_mode", ["real", "fake", "symbolic"])
def test_make_fx_records_what_moves_the_statistics(tracing_mode):
    layer, x = BatchNorm2d(3), images(4)

    def state():
        held = [*layer.named_parameters(), *layer.named_buffers()]
        return {name: tensor.detach().clone() for name, tensor in held}

    traced = make_fx(
        lambda state, x: torch.func.functional_call(layer, state, (x,)), tracing_mode=tracing_mode
    )(state(), x)
    moved = state()
    torch.testing.assert_close(traced(moved, x), layer(x))
    torch.testing.assert_close(moved, state())


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
def test_a_traced_evaluation_takes_any_batch_and_warns_of_nothing():
    model = trained({"activation": "silu"})
    traced = torch.jit.trace(model, images(4))
    for size in (2, 7):
        x = images(size, seed=size)
        torch.testing.assert_close(traced(x), model(x), rtol=1e-5, atol=1e-5)


def test_torch_fx_takes_a_layer_as_one_node():
    """As it does torch's own, so that tools made on it find the layers where they are."""
    model = Block(3, 4)
    traced = torch.fx.symbolic_trace(model)
    called = [n for n in traced.graph.nodes if n.op == "call_module" and "bn" in n.target]
    assert [n.target for n in called] == ["bn3", "bn1", "bn2"]
    assert [set(n.kwargs) for n in called] == [set(), set(), {"residual"}]
    twin, x = copy.deepcopy(traced), images(4)
    for training in (True, False):
        torch.testing.assert_close(twin.train(training)(x), model.train(training)(x))


class Relatives(torch.nn.Module):
    """One of each module that is called with more than an input, or is no layer of torch's."""

    def __init__(self):
        super().__init__()
        self.ghost = nn.GhostBatchNorm2d(3, 2)
        self.renorm = nn.BatchRenorm2d(3)
        self.conditional = nn.ConditionalBatchNorm2d(3)
        self.classes = nn.ClassConditionalBatchNorm2d(3, 5)
        self.domains = nn.DomainBatchNorm2d(3, 2)
        self.decorrelated = nn.DecorrelatedBatchNorm2d(3)

    def forward(self, x, weight, labels):
        x = self.conditional(self.renorm(self.ghost(x)), weight, None)
        x = self.domains(self.classes(x, labels), 1, residual=x)
        return self.decorrelated(x)


def test_torch_fx_takes_a_relative_as_one_node():
    model = Relatives()
    traced = torch.fx.symbolic_trace(model)
    called = [n.target for n in traced.graph.nodes if n.op == "call_module"]
    assert called == ["ghost", "renorm", "conditional", "classes", "domains", "decorrelated"]
    twin, given = copy.deepcopy(traced), (images(4), torch.rand(4, 3), torch.tensor([0, 1, 4, 1]))
    for training in (True, False):
        torch.testing.assert_close(twin.train(training)(*given), model.train(training)(*given))


def test_torch_fx_refuses_the_layer_itself_as_torch_s():
    for layer in (BatchNorm2d(3), torch.nn.BatchNorm2d(3)):
        with pytest.raises(torch.fx.proxy.TraceError, match="control flow"):
            torch.fx.symbolic_trace(layer)
