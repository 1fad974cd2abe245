import numpy as np
import pytest
import torch

import batchnorm
from batchnorm import kernels, nn
from batchnorm.errors import ChannelError, CountError, DTypeError, OptionError, ShapeError
from support.layers import laws
from support.layers.cases import CASES, EXACT, NOT_EMPTY, backends
from support.layers.laws import array, assert_close

OURS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
TORCH = {1: torch.nn.BatchNorm1d, 2: torch.nn.BatchNorm2d, 3: torch.nn.BatchNorm3d}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("backend", backends())
def test_law(backend, law, case):
    with kernels.backend(backend):
        law(OURS[case.spatial], case)


@pytest.mark.parametrize("case", [case for case in EXACT if max(case.shape) <= 6], ids=str)
def test_derivatives_to_second_order(case):
    laws.second_derivative(OURS[case.spatial], case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_state_is_interchangeable_with_torch(case):
    laws.state_round_trip(OURS[case.spatial], case, TORCH[case.spatial])


@pytest.mark.parametrize("case", NOT_EMPTY[::5], ids=str)
def test_copies(case):
    laws.copies(OURS[case.spatial], case)


@pytest.mark.parametrize("case", [case for case in EXACT if case.offset == 0], ids=str)
def test_agrees_with_torch_where_torch_is_right(case):
    """In float64 without offset: output, gradients and buffers, in training and evaluation."""
    ours = laws.build(OURS[case.spatial], case)
    theirs = TORCH[case.spatial](case.channels, **case.options())
    theirs.load_state_dict(ours.state_dict())
    for training in (True, True, False):
        found = []
        for layer in (ours, theirs):
            x = case.x(seed=7).requires_grad_()
            layer.zero_grad()
            y = layer.train(training)(x)
            y.backward(case.dy())
            found.append([y, x.grad, *(p.grad for p in layer.parameters())])
            found[-1] += layer.state_dict().values()
        for mine, other in zip(*found, strict=True):
            assert mine.dtype == other.dtype
            assert_close(array(mine), array(other), torch.float64, looser=4)


@pytest.mark.parametrize("case", [case for case in CASES if case.empty], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_empty_batch(case, training):
    """Empty output, zero gradients, statistics untouched (torch counts the batch)."""
    layer = laws.build(OURS[case.spatial], case).train(training)
    x = case.x().requires_grad_()
    y = layer(x)
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert torch.equal(layer.weight.grad, torch.zeros(case.channels, dtype=torch.float64))
    assert torch.equal(layer.running_mean, torch.zeros(case.channels, dtype=torch.float64))
    assert torch.equal(layer.running_var, torch.ones(case.channels, dtype=torch.float64))
    assert layer.num_batches_tracked == 0


ERRORS = [
    # layer, its options, training, input, our error, torch's error, what the message says
    (1, {}, True, torch.randn(1, 3), CountError, ValueError, "more than 1 value per channel"),
    (2, {}, True, torch.randn(1, 3, 1, 1), CountError, ValueError, r"\(1, 3, 1, 1\).*larger batch"),
    (1, {}, True, torch.randn(3), ShapeError, ValueError, r"expected 2D or 3D input \(got 1D"),
    (1, {}, True, torch.randn(2, 3, 1, 1), ShapeError, ValueError, r"2D or 3D input \(got 4D"),
    (2, {}, False, torch.randn(2, 3), ShapeError, ValueError, r"expected 4D input \(got 2D"),
    (3, {}, False, torch.randn(2, 3, 1, 1), ShapeError, ValueError, "expected 5D .* got"),
    (1, {}, True, torch.randn(2, 4), ChannelError, RuntimeError, r"need shape \(4,\).*got \(3,\)"),
    (1, {}, False, torch.randn(2, 4), ChannelError, RuntimeError, r"need shape \(4,\).*got \(3,\)"),
    (1, {"affine": False}, True, torch.randn(2, 4), ChannelError, RuntimeError, "running_mean"),
    (1, {}, True, torch.randn(2, 3).double(), DTypeError, RuntimeError, "beside torch.float64"),
    (1, {}, True, torch.ones(2, 3, dtype=torch.int64), DTypeError, NotImplementedError, "int64"),
    (1, {"eps": 0.0}, True, torch.randn(2, 3), OptionError, ValueError, "positive .* got 0"),
    (1, {"eps": -1.0}, True, torch.randn(2, 3), OptionError, ValueError, "positive in training"),
    (1, {"eps": -1.0}, False, torch.randn(2, 3), OptionError, ValueError, "non-negative, got -1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spatial", "options", "training", "x", "error", "torch_error", "text"), ERRORS
)
def test_same_errors_as_torch(spatial, options, training, x, error, torch_error, text):
    """Raised where torch raises, catchable as torch's, and nothing has changed."""
    layer = OURS[spatial](3, **options).train(training)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(error, match=text):
        layer(x)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(torch_error):
        TORCH[spatial](3, **options).train(training)(x)
    assert issubclass(error, batchnorm.errors.BatchNormError)
    assert issubclass(error, torch_error) or torch_error is NotImplementedError


def test_eps_zero_is_allowed_in_evaluation():
    layer = nn.BatchNorm1d(3, eps=0.0).eval()
    x = torch.randn(2, 3)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("spatial", OURS)
def test_is_a_torch_layer(spatial):
    """The isinstance checks of optimizers, DDP, timm and SWA hold."""
    layer = OURS[spatial](3)
    assert isinstance(layer, TORCH[spatial])
    assert isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)
    assert repr(layer) == repr(TORCH[spatial](3))


def test_checkpoint_without_counter_loads():
    """As torch wrote them before version 2 of the state."""
    state = torch.nn.BatchNorm2d(3).state_dict()
    del state["num_batches_tracked"]
    state._metadata[""]["version"] = 1
    layer = nn.BatchNorm2d(3)
    layer.load_state_dict(state, strict=True)
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("training", [True, False])
def test_buffers_switched_off_after_construction(training):
    """Both buffers set to None: the batch is used, as in torch."""
    ours, theirs = nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    x = torch.randn(4, 3, 5, 5)
    for layer in (ours, theirs):
        layer.train(training)
        layer.running_mean = layer.running_var = None
    torch.testing.assert_close(ours(x), theirs(x))


def test_counter_switched_off_after_construction():
    """As torch: the cumulative average cannot advance without a counter."""
    for momentum in (0.1, None):
        ours, theirs = (
            nn.BatchNorm1d(3, momentum=momentum),
            torch.nn.BatchNorm1d(3, momentum=momentum),
        )
        x = torch.randn(8, 3)
        for layer in (ours, theirs):
            layer.num_batches_tracked = None
            layer(x)
        torch.testing.assert_close(ours.running_mean, theirs.running_mean)
        torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_tracking_switched_off_after_construction():
    """In training the buffers stay as they are; in evaluation they are still used, as in torch."""
    ours, theirs = nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    x = torch.randn(8, 3) + 2
    for training in (True, False):
        for layer in (ours, theirs):
            layer.track_running_stats = False
            layer.train(training)
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_evaluation_with_one_buffer_is_refused():
    layer = nn.BatchNorm1d(3).eval()
    layer.running_var = None
    with pytest.raises(OptionError, match="running_mean and running_var, got None"):
        layer(torch.randn(2, 3))


def test_backward_after_the_buffers_have_moved():
    """The statistics of the forward are used, not those that came later (torch refuses)."""
    layer = nn.BatchNorm1d(3, dtype=torch.float64).eval()
    x = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    layer.train()(torch.randn(8, 3, dtype=torch.float64))
    y.sum().backward()
    assert_close(array(x.grad), np.full((8, 3), (1 + 1e-5) ** -0.5), torch.float64)
