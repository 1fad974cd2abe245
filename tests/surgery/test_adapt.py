"""Adaptation: a blend of source and target, which can be undone."""

import numpy as np
import pytest
import torch
from torch import nn

import batchnorm
from batchnorm.errors import CountError, DataError, NonFiniteError, OptionError, SurgeryError
from batchnorm.surgery import Adaptation, Record, adapt, recalibrate

both_families = pytest.mark.parametrize("family", [nn, batchnorm.nn], ids=["torch", "ours"])


def trained(family=nn):
    """A network with statistics of its own, which are the source."""
    model = nn.Sequential(
        family.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.Dropout(), family.BatchNorm2d(4)
    )
    recalibrate(model, [torch.randn(16, 3, 8, 8) for _ in range(3)], layer_by_layer=True)
    return model


def target(*rows):
    return [2 * torch.randn(n, 3, 8, 8) + 3 for n in rows]


def bits(model):
    return {name: (id(buffer), buffer.numpy().tobytes()) for name, buffer in model.named_buffers()}


@both_families
@pytest.mark.parametrize("weight", [0.0, 1.0, 7.5, 1e6])
def test_source_and_target_are_blended_by_their_numbers_of_rows(family, weight):
    model, data = trained(family), target(5, 3, 4)
    layer = model[0]
    source = layer.running_mean.double().numpy(), layer.running_var.double().numpy()
    adapt(model, data, source_weight=weight)
    values = torch.cat(data).double().movedim(1, -1).reshape(-1, 3).numpy()
    found = layer.running_mean, layer.running_var
    wanted = values.mean(0), values.var(0, ddof=1)
    share = weight / (weight + 12)
    for got, s, t in zip(found, source, wanted, strict=True):
        np.testing.assert_allclose(got, share * s + (1 - share) * t, rtol=1e-6, atol=1e-6)


@both_families
@pytest.mark.parametrize("weight", [0.0, 4.0])
def test_after_one_batch_evaluation_repeats_the_pass(family, weight):
    model, (x,) = trained(family), target(6)
    outputs = []

    def forward(model, batch):
        outputs.append(model(batch))

    adapt(model, [x], source_weight=weight, forward=forward)
    with torch.no_grad():
        again = model.eval()(x)
    torch.testing.assert_close(outputs[0], again, rtol=0, atol=1e-5)


def test_a_poisoned_source_counts_nothing_or_is_refused():
    model, data = trained(), target(4)
    model[3].running_var[1] = torch.nan
    with pytest.raises(DataError, match="buffers of layer '3': take source_weight=0"):
        adapt(model, data, source_weight=1.0)
    adapt(model, data)
    assert model[3].running_var.isfinite().all()


def test_the_counter_stays():
    model = trained()
    adapt(model, target(5, 3))
    assert model[0].num_batches_tracked == 3


@both_families
def test_undo_gives_back_every_bit_once(family):
    model = trained(family)
    before = bits(model)
    found = adapt(model, target(4), source_weight=2.0)
    adapted = bits(model)
    assert adapted != before
    assert isinstance(found, Adaptation)
    assert isinstance(found, Record)
    found.undo()
    assert bits(model) == before
    model[0].running_mean.fill_(5.0)  # goes on living
    found.undo()
    assert model[0].running_mean.tolist() == [5.0] * 3


def test_as_a_context_it_ends_also_after_an_exception():
    model = trained()
    before = bits(model)
    with adapt(model, target(4)) as found:
        assert bits(model) != before
        assert found.operation == "adapt"
    assert bits(model) == before

    def fail():
        with adapt(model, target(4)):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert bits(model) == before


def test_the_innermost_adaptation_is_undone_first():
    model = trained()
    before = bits(model)
    with adapt(model, target(4)):
        first = bits(model)
        with adapt(model, target(5), source_weight=1.0):
            assert bits(model) != first
        assert bits(model) == first
    assert bits(model) == before


def test_what_a_debiasing_layer_evaluates_with_is_the_source():
    layer = batchnorm.nn.BatchNorm1d(1, debias=True)
    layer(50 + torch.randn(1000, 1))  # the buffers hold a tenth of it
    (mean, var) = (50.0, 1.0)
    x = 10 + torch.randn(100, 1)
    before = bits(layer)
    with adapt(layer, [x], source_weight=100.0):
        y = layer.eval()(torch.tensor([[30.0]]))
        wanted = (30.0 - (mean + 10.0) / 2) / var
        assert y.item() == pytest.approx(wanted, abs=0.3)
        assert layer.running_mean.item() == pytest.approx(30.0, abs=0.2)
    assert bits(layer) == before


def test_the_record_says_what_happened():
    model = trained()
    model[3].eval()
    found = adapt(model, target(4), source_weight=12.0)
    first, second = found.changes
    assert first.module == "0"
    assert first.what == "adapted"
    assert first.detail.startswith("4 rows, 75% source; mean moved")
    assert (second.module, second.what) == ("3", "left alone")
    assert str(found).startswith("adapt: 1 done, 1 left alone\n")
    assert found.as_dict().keys() == {"operation", "changes", "error", "note"}


def failing(data):
    yield from data
    raise KeyError


DOORS = [
    ({"source_weight": -1.0}, target(2), OptionError, "not negative and finite, got -1.0: take 0"),
    ({"source_weight": float("nan")}, target(2), OptionError, "got nan"),
    ({"source_weight": float("inf")}, target(2), OptionError, "got inf"),
    ({}, target(2)[0], OptionError, "iterable of batches, got a Tensor"),
    ({}, [], DataError, "at least one batch"),
    ({"names": []}, target(2), SurgeryError, "0: not among the names"),
    ({"source_weight": 1.0}, [torch.full((2, 3, 8, 8), torch.nan)], NonFiniteError, "layer '0'"),
    (
        {"source_weight": 1.0},
        [torch.randn(1, 3, 1, 1)],
        CountError,
        "batch 0 .from 0. gives layer '0' 1",
    ),
    ({"source_weight": 1.0}, failing(target(2)), KeyError, None),
]


@pytest.mark.parametrize(("options", "data", "error", "text"), DOORS)
def test_errors_change_nothing(options, data, error, text):
    model = trained()
    before = bits(model)
    with pytest.raises(error, match=text):
        adapt(model, data, **options)
    assert bits(model) == before
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
