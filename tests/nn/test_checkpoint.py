"""Activation checkpointing: the statistics move once a step, whoever runs the forward again."""

import functools

import pytest
import torch
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)

from batchnorm.nn import BatchNorm1d, BatchNorm2d
from support.models.networks import images, resnet

both_kinds = pytest.mark.parametrize("reentrant", [False, True], ids=["saved", "reentrant"])


def gradients(model, call, x):
    model.zero_grad()
    leaf = x.clone().requires_grad_()
    call(leaf).square().mean().backward()
    return [leaf.grad, *(p.grad for p in model.parameters())]


def same_step(call_of, model=None, x=None):
    """A step under `call_of(model)` is a plain step: gradients, statistics and counters."""
    model, twin = (resnet(), resnet()) if model is None else (model(), model())
    x = images(6) if x is None else x
    for _ in range(2):
        found = gradients(model, call_of(model), x)
        wanted = gradients(twin, twin, x)
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(dict(model.named_buffers()), dict(twin.named_buffers()))
    counters = {n: b for n, b in model.named_buffers() if n.endswith("num_batches_tracked")}
    assert counters
    assert set(map(int, counters.values())) == {2}


@both_kinds
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"activation": "silu"}], ids=str)
def test_statistics_move_once(options, reentrant):
    same_step(
        lambda model: functools.partial(checkpoint, model, use_reentrant=reentrant),
        lambda: resnet(**options),
    )


@both_kinds
def test_torch_s_layer_moves_them_twice(reentrant):
    """pytorch#96136."""
    counts = {}
    for kind in (BatchNorm1d, torch.nn.BatchNorm1d):
        layer, x = kind(3), torch.randn(8, 3, requires_grad=True)
        checkpoint(layer, x, use_reentrant=reentrant).sum().backward()
        counts[kind] = layer.num_batches_tracked.item()
    assert counts == {BatchNorm1d: 1, torch.nn.BatchNorm1d: 2}


# The outer one, if reentrant, runs the inner one first without gradients, which torch tells.
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@both_kinds
def test_nested(reentrant):
    """What lies inside two is run three times."""

    def call_of(model):
        first, *rest = model

        def inner(x):
            return checkpoint(first, x, use_reentrant=reentrant)

        def call(x):
            return checkpoint(torch.nn.Sequential(*rest), inner(x), use_reentrant=reentrant)

        return lambda x: checkpoint(call, x, use_reentrant=reentrant)

    same_step(call_of)


@both_kinds
def test_sequential(reentrant):
    def call_of(model):
        return lambda x: checkpoint_sequential(model, 3, x, use_reentrant=reentrant)

    same_step(call_of)


def test_a_checkpoint_that_is_never_differentiated_counts_too():
    layer = BatchNorm1d(3)
    checkpoint(layer, torch.randn(8, 3), use_reentrant=False)
    with torch.no_grad():
        checkpoint(layer, torch.randn(8, 3), use_reentrant=False)
    assert layer.num_batches_tracked == 2


def test_backward_twice():
    """Each of the two passes runs the forward again, and neither moves anything."""
    layer, x = BatchNorm1d(3), torch.randn(8, 3, requires_grad=True)
    y = checkpoint(lambda x: layer(x).square(), x, use_reentrant=False)
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert layer.num_batches_tracked == 1


# ------------------------------------------------------------------------------ selective


class Mixed(torch.nn.Module):
    """A layer, and behind it the operators that moving its statistics is made of."""

    def __init__(self, kind=BatchNorm2d):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 1)
        self.bn = kind(4)
        self.last = torch.nn.Conv2d(4, 3, 1)

    def forward(self, x):
        z = self.bn(self.conv(x)) * 2.0
        z = torch.where(z > 0, z, z + 0.5 * z.sub(1).isfinite().logical_not())
        return self.last(z * z.sigmoid())


def saving(*kept):
    """Return what `checkpoint` takes to save the results of some operators, or of all."""

    def policy(_, operator, *args, **options):
        found = not kept or operator in kept
        return CheckpointPolicy.MUST_SAVE if found else CheckpointPolicy.PREFER_RECOMPUTE

    return functools.partial(create_selective_checkpoint_contexts, policy)


aten = torch.ops.aten
SAVED = {
    "convolutions": (aten.convolution.default,),
    "ours": (torch.ops.batchnorm.forward.default,),
    "products": (aten.mul.Tensor, aten.where.self, aten.add.Tensor, aten._to_copy.default),
    "everything": (),
}


@pytest.mark.parametrize("saved", SAVED.values(), ids=SAVED)
def test_selective(saved):
    """What is saved is paired with the recomputation by name and number of the operator."""

    def call_of(model):
        context = saving(*saved)
        return functools.partial(checkpoint, model, use_reentrant=False, context_fn=context)

    same_step(call_of, Mixed)


def test_torch_s_layer_cannot_have_everything_saved():
    """Its statistics are changed after they have been saved; and moved twice otherwise."""
    options = {"use_reentrant": False, "context_fn": saving()}
    model = Mixed(torch.nn.BatchNorm2d)
    with pytest.raises(RuntimeError, match="has been mutated"):
        checkpoint(model, images(4), **options).sum().backward()


def test_one_operator_moves_as_many_do():
    """Under a dispatch mode: the numbers, the version that autograd sees, weights and momenta."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Log(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.seen.append(function)
            return function(*args, **(kwargs or {}))

    x, weights = torch.randn(8, 3), torch.rand(8)
    for momentum in (0.1, None, torch.tensor(0.1)):
        for sample_weight in (None, weights):
            watched, plain = (BatchNorm1d(3, momentum=momentum) for _ in range(2))
            version = watched.running_mean._version
            with Log() as log:
                watched(x, sample_weight=sample_weight)
            plain(x, sample_weight=sample_weight)
            torch.testing.assert_close(dict(watched.named_buffers()), dict(plain.named_buffers()))
            assert watched.running_mean._version > version
            as_one = torch.ops.batchnorm.move_.default in log.seen
            assert as_one == (not isinstance(momentum, torch.Tensor))


# ------------------------------------------------------------------------------- compiled


@pytest.fixture
def compiler():
    torch.compiler.reset()
    yield functools.partial(torch.compile, fullgraph=True, backend="aot_eager")
    torch.compiler.reset()


@both_kinds
def test_checkpoint_inside_a_compiled_function(compiler, reentrant):
    def call_of(model):
        return compiler(lambda x: checkpoint(model, x, use_reentrant=reentrant))

    same_step(call_of, lambda: torch.nn.Sequential(BatchNorm2d(3), torch.nn.SiLU()))


@both_kinds
def test_a_compiled_function_inside_a_checkpoint_moves_them_twice(compiler, reentrant):
    """As torch's layer: compiled code does not know who calls it. Compile around the checkpoint."""
    x = torch.randn(8, 3, requires_grad=True)
    for kind in (BatchNorm1d, torch.nn.BatchNorm1d):
        inside, around = kind(3), kind(3)
        checkpoint(compiler(inside), x, use_reentrant=reentrant).sum().backward()
        call = functools.partial(checkpoint, around, use_reentrant=reentrant)
        compiler(call)(x).sum().backward()
        assert (inside.num_batches_tracked, around.num_batches_tracked) == (2, 1)
