"""torch.compile: the same numbers as without, in one graph, compiled no oftener than needed."""

import copy
import shutil

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from batchnorm import functional, reference
from batchnorm.nn import BatchNorm1d, BatchNorm2d, accumulate_statistics
from support.layers.laws import array
from support.models.networks import Block, images, layers, resnet, train

# Of inductor itself, which imports a part of PyTorch that uses it.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is:DeprecationWarning")
needs_compiler = pytest.mark.skipif(
    not shutil.which("g++") and not shutil.which("clang++"), reason="inductor needs a C++ compiler"
)
OPTIONS = [{"momentum": None, "debias": True, "activation": "silu"}] + [
    pytest.param(options, marks=pytest.mark.slow)
    for options in (
        {},
        {"momentum": None},
        {"momentum": 1.0},
        {"nonfinite": "propagate"},
        {"debias": True},
        {"correction": 0},
        {"activation": "leaky_relu"},
        {"affine": False},
        {"track_running_stats": False},
    )
]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(model, backend="aot_eager", **options):
    counter = CompileCounterWithBackend(backend)
    return torch.compile(model, fullgraph=True, backend=counter, **options), counter


def compare(model, batches, backend, **tolerance):
    """Train and evaluate beside an eager twin."""
    twin = copy.deepcopy(model)
    call, counter = compiled(twin, backend)
    torch.testing.assert_close(
        train(twin, call, batches), train(model, model, batches), **tolerance
    )
    twin.eval(), model.eval()
    with torch.no_grad():
        for x in batches:
            torch.testing.assert_close(call(x), model(x), rtol=1e-5, atol=1e-5)
    return counter


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_trains_and_evaluates_as_without(options):
    """Outputs, gradients, running statistics and counters, bit for bit; batches of many sizes.

    One graph for the first batch, and one for all other sizes; one in evaluation.
    """
    batches = [images(n, seed=n) for n in (8, 6, 4, 5)]
    counter = compare(resnet(**options), batches, "aot_eager", rtol=0, atol=0)
    assert counter.frame_count == 3


@needs_compiler
def test_trains_and_evaluates_as_without_by_inductor():
    model = torch.nn.Sequential(torch.nn.Flatten(), BatchNorm1d(192, activation="relu"))
    counter = compare(model, [images(8)] * 2, "inductor")
    assert counter.frame_count == 2


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_by_inductor(options):
    batches = [images(n, seed=n) for n in (8, 6, 4, 5)]
    counter = compare(resnet(**options), batches, "inductor", rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 3


@pytest.mark.parametrize("training", [True, False])
def test_no_graph_break(training):
    explained = torch._dynamo.explain(Block(3, 4).train(training))(images(4))
    assert explained.graph_count == 1, explained.break_reasons
    assert explained.graph_break_count == 0


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)]
)
def test_16_bits(dtype):
    """Parameters of 16 bits and statistics of 32, in training and evaluation."""
    batches = [images(8, seed=seed, dtype=dtype) for seed in range(2)]
    model = Block(3, 4).to(dtype)
    twin = copy.deepcopy(model)
    call, _ = compiled(twin)
    torch.testing.assert_close(train(twin, call, batches), train(model, model, batches))
    assert {layer.running_mean.dtype for layer in layers(twin)} == {torch.float32}
    y = call.eval()(batches[0])
    assert y.dtype == dtype
    # The evaluated map rounds once more, before it adds the residual.
    torch.testing.assert_close(y, model.eval()(batches[0]), rtol=0.05, atol=0.05)


def test_a_cast_past_the_module_is_mended_inside_too():
    model = BatchNorm2d(3, momentum=0.5)
    call, _ = compiled(model)
    for name in ("running_mean", "running_var"):
        model._buffers[name] = model._buffers[name].bfloat16()
    x = images(8) + 5
    call(x)
    assert model.running_mean.dtype == torch.float32
    torch.testing.assert_close(model.running_mean, x.mean((0, 2, 3)) / 2)


def test_modes_are_seen_by_compiled_code():
    """Freezing, adapting and train/eval compile anew where they change what is computed."""
    model = torch.nn.Sequential(BatchNorm2d(3), torch.nn.ReLU())
    twin = copy.deepcopy(model)
    call, _ = compiled(twin)
    for change in (
        lambda layer: layer,
        lambda layer: layer.freeze(),
        lambda layer: layer.unfreeze(),
        lambda layer: layer.eval(),
        lambda layer: layer.adapt(),
        lambda layer: layer.train(),
    ):
        for network in (model, twin):
            for layer in layers(network):
                change(layer)
        for x in (images(8), images(4)):
            torch.testing.assert_close(call(x), model(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(twin.state_dict(), model.state_dict(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_batch_that_is_not_finite_is_skipped_inside(value):
    model = BatchNorm2d(3)
    call, counter = compiled(model)
    call(images(8))
    before = model.running_mean.clone(), model.running_var.clone()
    bad = images(8, seed=1)
    bad[3, 1, 2, 2] = value
    call(bad)
    assert torch.equal(model.running_mean, before[0])
    assert torch.equal(model.running_var, before[1])
    assert (model.num_batches_tracked, model.batches_skipped) == (1, 1)
    assert counter.frame_count == 1, "no look at any value"


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "given",
    ["both", *(pytest.param(one, marks=pytest.mark.slow) for one in ("mask", "sample_weight"))],
)
def test_masks_and_weights(given, training):
    x, g = images(6), torch.Generator().manual_seed(1)
    options = {"mask": torch.rand(6, 8, 8, generator=g) > 0.3, "sample_weight": torch.rand(6)}
    if given != "both":
        options = {given: options[given]}
    found = []
    for watched in (True, False):
        model = BatchNorm2d(3, activation="silu").train(training)
        call = compiled(model)[0] if watched else model
        leaf = x.clone().requires_grad_()
        y = call(leaf, x.flip(0), **options)
        y.square().sum().backward()
        found.append([y, leaf.grad, model.weight.grad, *model.buffers()])
    torch.testing.assert_close(*found, rtol=2e-6, atol=2e-6)


def test_micro_batches():
    model = torch.nn.Sequential(BatchNorm2d(3), torch.nn.ReLU())
    twin = copy.deepcopy(model)
    call, _ = compiled(twin)
    for network, function in ((model, model), (twin, call)):
        with accumulate_statistics(network):
            for seed in range(3):
                function(images(4, seed=seed)).sum().backward()
    torch.testing.assert_close(dict(twin.named_buffers()), dict(model.named_buffers()))
    assert {layer.num_batches_tracked.item() for layer in layers(twin)} == {1}


def test_the_functional_form():
    """Moments come out of a compiled function, and statistics that were passed are moved."""

    def step(x, mean, var, counter):
        y, moments = functional.normalize(x)
        functional.update_running_(mean, var, moments, None, num_batches_tracked=counter)
        return y, moments

    found = []
    for function in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        state = torch.zeros(3), torch.ones(3), torch.tensor(0)
        results = [function(images(4, seed=seed), *state) for seed in range(3)]
        found.append((results, state))
    torch.testing.assert_close(*found)


def test_the_cumulative_average_is_one_graph_which_torch_s_is_not():
    """momentum=None: torch asks for the counter's value (pytorch#194504)."""
    x = images(8)
    call, counter = compiled(BatchNorm2d(3, momentum=None))
    call(x), call(x)
    assert counter.frame_count == 1
    theirs, _ = compiled(torch.nn.BatchNorm2d(3, momentum=None))
    with pytest.raises(torch._dynamo.exc.TorchDynamoException, match=r"item|data-dependent"):
        theirs(x)


# Of the compiler's own look at a tensor between two graphs.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_raising_needs_a_value_and_says_so():
    """nonfinite="raise" looks at a value, which one graph cannot: a loud end, not a silent one."""
    call, _ = compiled(BatchNorm2d(3, nonfinite="raise"))
    with pytest.raises(torch._dynamo.exc.Unsupported, match="Data-dependent branching"):
        call(images(4))
    torch.compiler.reset()
    broken = torch.compile(BatchNorm2d(3, nonfinite="raise"), backend="aot_eager")
    broken(images(4))
    with pytest.raises(FloatingPointError, match="need to be finite"):
        broken(images(4) / 0)


@needs_compiler
@pytest.mark.parametrize("debias", [False, True])
def test_inductor_evaluates_exactly_at_any_offset(debias):
    """As our kernels. Torch's own kernel, which the other backends call, does not."""
    offset = 1e5
    g = torch.Generator().manual_seed(0)
    x = torch.randn(512, 4, generator=g, dtype=torch.float64).add(offset).float()
    model = BatchNorm1d(4, debias=debias)
    for _ in range(50):
        model(x)
    model.eval()
    if debias:
        mean, var = functional.debiased(model.running_mean, model.running_var, 1 - 0.9**50)
    else:
        model.running_mean.copy_(x.double().mean(0))
        mean, var = model.running_mean, model.running_var
    wanted = reference.inference(array(x), array(mean), array(var))
    errors = {
        backend: abs(array(compiled(model, backend)[0](x)) - wanted).max()
        for backend in ("inductor", "aot_eager")
    }
    rounding = 2**-24 * offset if debias else 0  # of a mean that has to be float32 again
    assert errors["inductor"] <= 2e-6 + 2 * rounding
    assert errors["aot_eager"] > 1e-3


def test_a_deep_copy_and_a_pickle_of_a_compiled_model_s_layers():
    """What torch.compile leaves on a module does not stay on its layers."""
    model = torch.nn.Sequential(BatchNorm2d(3), torch.nn.ReLU())
    call, _ = compiled(model)
    call(images(4))
    again = copy.deepcopy(call)
    torch.testing.assert_close(again(images(4)), call(images(4)))
    torch.testing.assert_close(again.state_dict(), call.state_dict())
