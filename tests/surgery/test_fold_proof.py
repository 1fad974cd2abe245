"""A fold is proven by numbers, and whatever goes wrong leaves the model as it was."""

import pytest
import torch
from torch import nn

from batchnorm._model import _compare, _edit
from batchnorm._model._behaviour import Pass, relative_error
from batchnorm._model._compare import Proof
from batchnorm._model._linear import Weights
from batchnorm.errors import SurgeryError
from batchnorm.surgery import fold
from support.models.surgery import Residual, settle, snapshot

X = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))


def without_shift(self, affine):
    scale = affine.scale.reshape(self.weight.shape[0], -1, 1, 1)
    return Weights(self.weight * scale, self.bias * affine.scale)


def off_by_a_little(self, affine, true=Weights.then):
    weights = true(self, affine)
    return Weights(weights.weight * (1 + 1e-6), weights.bias)


@pytest.mark.parametrize("wrong", [without_shift, off_by_a_little])
def test_a_wrong_fold_is_found_and_undone(monkeypatch, wrong):
    """An error of 1e-6, which float32 alone could not tell from rounding, shows in float64."""
    model = settle(Residual(4)).eval()
    before = snapshot(model)
    monkeypatch.setattr(Weights, "then", wrong)
    with pytest.raises(SurgeryError, match=r"an output within .* is needed, got .*float64"):
        fold(model, X)
    assert snapshot(model) == before


def test_a_fold_that_is_only_wrong_in_the_models_own_dtype_is_undone(monkeypatch):
    def stored(self, layer, true=Weights.stored):
        return true(self, layer) * (1.01 if layer.weight.dtype == torch.float32 else 1.0)

    model = settle(Residual(4)).eval()
    before = snapshot(model)
    monkeypatch.setattr(Weights, "stored", stored)
    with pytest.raises(SurgeryError, match=r"an output within .* is needed, got .*float32"):
        fold(model, X)
    assert snapshot(model) == before


def test_random_inputs_find_what_the_example_hides(monkeypatch):
    """On zeros a wrong weight changes nothing."""

    def doubled(self, affine, true=Weights.then):
        weights = true(self, affine)
        return Weights(weights.weight * 2, weights.bias)

    model = settle(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))).eval()
    monkeypatch.setattr(Weights, "then", doubled)
    with pytest.raises(SurgeryError, match="is needed"):
        fold(model, torch.zeros_like(X))
    assert len(fold(model, torch.zeros_like(X), random_inputs=False).done) == 1


def test_tolerance_is_what_the_owner_says():
    model = settle(Residual(4)).eval()
    before = snapshot(model)
    with pytest.raises(SurgeryError, match=r"an output within 1e-12 .* or allow more with toler"):
        fold(model, X, tolerance=1e-12)
    assert snapshot(model) == before
    assert fold(model, X, tolerance=1e-5).largest_error < 1e-5


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("step", range(6))
def test_an_exception_at_any_step_leaves_the_model_bit_for_bit(monkeypatch, step, error):
    """Steps: two weights, two new biases, two replacements; then the comparison."""
    model = settle(Residual(4)).eval()
    before, random = snapshot(model), torch.get_rng_state()
    steps = iter(range(100))

    class Failing(_edit.Edit):
        pass

    def failing(name):
        true = getattr(_edit.Edit, name)

        def method(self, *arguments):
            result = true(self, *arguments)
            if self._model is model and next(steps) == step:
                raise error("on purpose")
            return result

        return method

    for name in ("copy_", "set_parameter", "replace"):
        monkeypatch.setattr(Failing, name, failing(name))
    monkeypatch.setattr(_edit, "Edit", Failing)
    with pytest.raises(error, match="on purpose"):
        fold(model, X)
    assert next(steps) == step + 1
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), random)


def test_an_exception_in_the_last_comparison_leaves_the_model_bit_for_bit(monkeypatch):
    model = settle(Residual(4)).eval()
    before = snapshot(model)

    def check(self, changed):
        assert isinstance(changed.bn1, nn.Identity)
        raise KeyboardInterrupt

    monkeypatch.setattr(_compare.Proof, "check", check)
    with pytest.raises(KeyboardInterrupt):
        fold(model, X)
    assert snapshot(model) == before


def test_a_forward_that_draws_random_numbers_draws_the_same_each_time():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.norm(self.conv(x))
            return y + torch.randn(y.shape, dtype=torch.float64).to(y.dtype)

    record = fold(settle(Noisy()).eval(), X)
    assert record.largest_error < 1e-5


def test_a_model_that_is_inexact_already_may_stay_so():
    """Cancellation: the model's own error is 1e-3, and folding may keep it."""

    class Cancelling(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x):
            return (self.norm(self.linear(x)) + 3e4) - 3e4

    record = fold(settle(Cancelling()).eval(), torch.randn(8, 4))
    assert 1e-4 < record.largest_error < 1e-2


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 4.0], 0.5),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([1e-9], [0.0], 1e-9),
        ([torch.inf, torch.nan, 1.0], [torch.inf, torch.nan, 1.0], 0.0),
        ([torch.inf, 1.0], [2.0, 1.0], torch.inf),
        ([], [], 0.0),
    ],
    ids=str,
)
def test_relative_error(found, expected, error):
    found, expected = (torch.tensor(v, dtype=torch.float64) for v in (found, expected))
    assert relative_error(found, expected) == error


def test_a_value_that_is_lost_is_never_within_bounds():
    model = nn.Linear(2, 2)
    passes = [Pass(torch.randn(3, 2), training=None)]
    proof = Proof(model, lambda *_: None, passes, advice="do not", always_in_double=True)
    with torch.no_grad():
        model.weight.fill_(torch.nan)
    with pytest.raises(SurgeryError, match="got nan"):
        proof.check(model)
