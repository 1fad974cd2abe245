"""A training step never waits for the device: it can be queued ahead, or captured as a CUDA graph.

Proved without a GPU. The tensors are on the `meta` device, which has no values, so whatever looks
at one (`.item()`, `if tensor:`, `nonzero`) raises; and what carries data between host and device is
caught by name. The code is the one a GPU runs, the eager backend, without the dispatcher.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from batchnorm import Moments, functional, kernels, nn, ops
from batchnorm.nn import BatchNorm2d, accumulate_statistics

HOST_DATA = ("tensor", "as_tensor", "asarray", "from_numpy", "item", "tolist", "numpy", "cpu")


class WaitError(AssertionError):
    pass


class OneDevice(TorchDispatchMode):
    """Refuses operators that touch another device than `meta`."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
        self.seen += 1
        if any(not t.is_meta for t in tensors):
            raise WaitError(f"{function} between devices")
        return result


class NoHostData(TorchFunctionMode):
    """Refuses calls that make a tensor of host data, or host data of a tensor."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in HOST_DATA:
            raise WaitError(function.__name__)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def watch(monkeypatch):
    """Watch what a device would be told, by the way that is taken where nobody watches."""
    monkeypatch.setattr(ops, "is_plain_eager", lambda _: True)
    monkeypatch.setattr(ops._move, "move_", kernels.update_)

    def watched(function, *arguments, **options):
        with OneDevice() as mode, NoHostData():
            function(*arguments, **options)
        assert mode.seen > 5, "the watcher has seen nothing"

    return watched


def batch(dtype=torch.float32):
    return torch.randn(4, 3, 5, 5, device="meta", dtype=dtype, requires_grad=True)


def step(layer, **options):
    """Forward, backward and what moves the statistics."""
    x = batch(layer.weight.dtype)
    layer(x, 2 * x if layer.activation else None, **options).sum().backward()


GIVEN = {
    "": {},
    "mask": {"mask": torch.ones(4, 5, 5, dtype=torch.bool, device="meta")},
    "weights": {"sample_weight": torch.ones(4, device="meta")},
    "both": {
        "mask": torch.ones(4, 5, 5, dtype=torch.bool, device="meta"),
        "sample_weight": torch.ones(4, device="meta"),
    },
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": None},
        {"momentum": 1.0, "correction": 0},
        {"nonfinite": "propagate"},
        {"track_running_stats": False},
        {"activation": "relu"},
        {"activation": "leaky_relu"},
        {"activation": "silu", "momentum": None},
        {"dtype": torch.bfloat16},
    ],
    ids=str,
)
def test_a_training_step(watch, options, given):
    watch(step, BatchNorm2d(3, device="meta", **options), **given)


@pytest.mark.parametrize("options", [{}, {"debias": True}, {"activation": "silu"}], ids=str)
@pytest.mark.parametrize("mode", ["eval", "freeze", "adapt"])
def test_an_evaluation(watch, options, mode):
    layer = BatchNorm2d(3, device="meta", **options)
    getattr(layer.eval(), mode)()
    watch(step, layer)


def test_second_derivatives(watch):
    layer = BatchNorm2d(3, device="meta")

    def twice():
        x = batch()
        (dx,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        dx.square().sum().backward()

    watch(twice)


def test_micro_batches(watch):
    layer = BatchNorm2d(3, device="meta")

    def steps():
        with accumulate_statistics(layer):
            step(layer)
            step(layer)

    watch(steps)


def test_the_functional_form(watch):
    state = [torch.zeros(3, device="meta"), torch.ones(3, device="meta")]
    counter = torch.zeros((), dtype=torch.int64, device="meta")

    def steps():
        y, moments = functional.normalize(batch())
        functional.update_running_(*state, moments, None, num_batches_tracked=counter)
        functional.update_running_(
            *state, Moments.of(y).merge(moments), torch.ones((), device="meta")
        )

    watch(steps)


@pytest.mark.parametrize("options", [{"momentum": None}, {"debias": True}], ids=str)
@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_fake_tensors(given, options):
    """As compilers and memory planners run a program: shapes only, and an error at any value."""
    with FakeTensorMode():
        layer = BatchNorm2d(3, activation="relu", **options)
        x = torch.randn(4, 3, 5, 5, requires_grad=True)
        shown = {name: torch.ones(t.shape, dtype=t.dtype) for name, t in given.items()}
        for mode in (layer.train, layer.eval):
            mode()
            layer(x, 2 * x, **shown).sum().backward()
        assert x.grad.shape == x.shape
        with pytest.raises(DataDependentOutputException):
            BatchNorm2d(3, nonfinite="raise")(x)


def given(*shape):
    return torch.ones(shape, device="meta", requires_grad=True)


META = {"device": "meta"}
LABELS = torch.zeros(4, dtype=torch.int64, device="meta")
RELATIVES = {
    "ghost": (nn.GhostBatchNorm2d(3, 2, **META),),
    "ghost, one part": (nn.GhostBatchNorm2d(3, 4, **META),),
    "renorm": (nn.BatchRenorm2d(3, **META),),
    "renorm without warm-up": (nn.BatchRenorm2d(3, warmup=None, debias=True, **META),),
    "conditional": (nn.ConditionalBatchNorm2d(3, **META), given(3), given(3)),
    "conditional, each": (nn.ConditionalBatchNorm2d(3, **META), given(4, 3), given(4, 3)),
    "class-conditional": (nn.ClassConditionalBatchNorm2d(3, 10, **META), LABELS),
    "one domain": (nn.DomainBatchNorm2d(3, 2, **META), 1),
    "one domain, shared": (nn.DomainBatchNorm2d(3, 2, shared_affine=True, **META), 1),
}


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("relative", RELATIVES.values(), ids=RELATIVES)
def test_a_relative(watch, relative, masked, mode):
    layer, *arguments = relative
    getattr(layer, mode)()
    options = GIVEN["mask"] if masked else {}
    watch(lambda: layer(batch(), *arguments, **options).sum().backward())


def test_a_relative_run_again(watch):
    layer = nn.BatchRenorm2d(3, warmup=None, **META)

    def run():
        y = checkpoint(layer, batch(), use_reentrant=True, preserve_rng_state=False)
        y.sum().backward()

    watch(run)
    assert len(layer._recent) == 1


# ------------------------------------------------------------------ that the tests can fail


def test_domains_of_samples_have_to_be_looked_at(watch):
    layer = nn.DomainBatchNorm2d(3, 2, **META)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        watch(lambda: layer(batch(), LABELS))


def test_raise_has_to_look(watch):
    layer = BatchNorm2d(3, device="meta", nonfinite="raise")
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta"):
        watch(step, layer)


def test_torch_s_cumulative_average_has_to_look(watch):
    layer = torch.nn.BatchNorm2d(3, momentum=None, device="meta")
    with pytest.raises((RuntimeError, WaitError), match="item"):
        watch(lambda: layer(batch()))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.isfinite().all()),
        lambda x: x[x > 0],
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x + torch.ones(4, 3, 5, 5),
        lambda x: torch.empty(4, 3, 5, 5).copy_(x),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
    ],
)
def test_what_waits_is_caught(watch, wait):
    with pytest.raises((WaitError, RuntimeError, NotImplementedError)):
        watch(lambda: [wait(batch().detach()), *(batch().sum() for _ in range(9))])
