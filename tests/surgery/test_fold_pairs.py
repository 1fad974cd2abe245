"""Neighbours named by the owner, for models that cannot be traced."""

import pytest
import torch
from torch import nn

from batchnorm.errors import OptionError, SurgeryError
from batchnorm.surgery import fold
from support.models.surgery import ByValue, Residual, settle, snapshot

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def chain():
    return settle(
        nn.Sequential(
            nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)
        )
    ).eval()


def test_a_model_that_cannot_be_traced():
    model = settle(ByValue()).eval().double()
    y = model(X.double())
    record = fold(model, X.double(), pairs=[("conv", "bn")])
    assert [(change.module, change.detail) for change in record.done] == [("bn", "into conv")]
    assert record.largest_error < 1e-12
    assert torch.allclose(model(X.double()), y, rtol=1e-12, atol=1e-12)


def test_only_the_named_ones_are_folded():
    model = settle(Residual(3)).eval()
    record = fold(model, X, pairs=[("conv2", "bn2")])
    assert [change.module for change in record.changes] == ["bn2"]
    assert type(model.bn1) is nn.BatchNorm2d


def test_before_and_after_the_same_linear_map():
    model = chain().double()
    y = model(X.double())
    record = fold(model, X.double(), pairs=[("0", "1"), ("1", "2")])
    assert [change.module for change in record.done] == ["0", "2"]
    assert torch.allclose(model(X.double()), y, rtol=1e-12, atol=1e-12)


def test_a_module_may_be_named_by_any_of_its_names():
    model = chain()
    model.other = model[1]
    assert len(fold(model[:3], X, pairs=[("1", "2")]).done) == 1
    model = settle(ByValue()).eval()
    model.again = model.conv
    assert len(fold(model, X, pairs=[("again", "bn")]).done) == 1


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        (["conv"], r"pairs needs tuples of two names, got 'conv': give it as in"),
        ([("conv",)], "pairs needs tuples of two names"),
        ([("conv", "bm")], "needs names of the model's modules, got 'bm': take them from"),
        ([("conv", "conv")], r"'conv' \(Conv2d\) and 'conv' \(Conv2d\): name what is"),
        ([("bn", "bn")], "a pair needs one linear or convolution layer and one batch norm"),
    ],
)
def test_bad_pairs_are_refused(pairs, match):
    model = settle(ByValue()).eval()
    before = snapshot(model)
    with pytest.raises(OptionError, match=match):
        fold(model, X, pairs=pairs)
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("pair", "match"),
    [
        (("1", "4"), "'1' and '4', where it does not: name neighbours"),
        (("2", "1"), "'2' and '1', where it does not: name neighbours"),
    ],
)
def test_modules_that_are_no_neighbours_are_refused(pair, match):
    model = chain()
    before = snapshot(model)
    with pytest.raises(SurgeryError, match=match):
        fold(model, X, pairs=[pair])
    assert snapshot(model) == before


def test_a_pair_that_cannot_be_folded_is_refused_with_the_reason():
    model = chain()
    model[1] = nn.Conv2d(3, 4, 3, padding=1)
    before = snapshot(model)
    with pytest.raises(SurgeryError, match=r"got 0: .*1, which pads with zeros.*: leave them out"):
        fold(model, X, pairs=[("1", "2"), ("0", "1")])
    assert snapshot(model) == before


def test_training_is_refused_for_the_named_only():
    model = chain()
    model[4].train()
    assert len(fold(model, X, pairs=[("1", "2")]).done) == 1
    model = chain().train()
    with pytest.raises(SurgeryError, match=r"in training mode \(2\)"):
        fold(model, X, pairs=[("1", "2")])


def test_a_branch_that_the_owner_overlooked_shows_in_the_outputs():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return self.bn(y) + y.relu()

    model = settle(Branching()).eval()
    before = snapshot(model)
    with pytest.raises(SurgeryError, match="an output within"):
        fold(model, X, pairs=[("conv", "bn")])
    assert snapshot(model) == before
