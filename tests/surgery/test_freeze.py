"""All layers of a model are frozen and unfrozen together, or none is."""

import pytest
import torch
from torch import nn

import batchnorm.nn as ours
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.surgery import _freeze, convert, freeze, unfreeze
from support.models.surgery import UNet, settle, snapshot

LAYERS = ["down.1", "bottom.1", "up_norm", "head.1"]


def model_of_ours():
    model = settle(UNet())
    convert(model)
    return model


def train(model):
    model.train()(torch.randn(2, 3, 8, 8)).sum().backward()


def test_frozen_layers_keep_their_statistics_in_training():
    model = model_of_ours()
    before = {name: b.clone() for name, b in model.named_buffers()}
    record = freeze(model)
    assert [(row.module, row.what) for row in record.changes] == [(n, "frozen") for n in LAYERS]
    train(model)
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    assert model.up_norm.weight.grad is not None
    unfreeze(model)
    train(model)
    assert all(model.get_submodule(name).num_batches_tracked == 1 for name in LAYERS)


def test_weight_and_bias_freeze_too_and_come_back_as_they_were():
    model = model_of_ours()
    model.up_norm.weight.requires_grad_(False)
    freeze(model, affine=True)
    assert not any(p.requires_grad for n in LAYERS for p in model.get_submodule(n).parameters())
    assert model.classify.weight.requires_grad
    unfreeze(model)
    assert not model.up_norm.weight.requires_grad
    assert model.up_norm.bias.requires_grad
    assert model.down[1].weight.requires_grad


def test_only_the_named_layers():
    model = model_of_ours()
    record = freeze(model, names=["up_norm"])
    assert [row.module for row in record.changes] == ["up_norm"]
    assert [n for n in LAYERS if model.get_submodule(n).frozen] == ["up_norm"]
    freeze(model)
    unfreeze(model, names=["up_norm", "head.1"])
    assert [n for n in LAYERS if model.get_submodule(n).frozen] == ["down.1", "bottom.1"]


def test_a_shared_layer_has_two_names_and_one_row():
    shared = ours.BatchNorm1d(3)
    model = nn.Sequential(shared, nn.Linear(3, 3), shared)
    [row] = freeze(model, names=["2"]).changes
    assert row.module == "0, 2"


def test_what_is_so_already_is_left_alone():
    model = model_of_ours()
    freeze(model, names=["up_norm"])
    assert [row.module for row in freeze(model).left] == ["up_norm"]
    assert [row.module for row in freeze(model, affine=True).left] == []
    assert [row.detail for row in freeze(model).left] == ["frozen already"] * 4
    unfreeze(model, names=["up_norm"])
    assert [row.module for row in unfreeze(model).left] == ["up_norm"]


REFUSED = [
    (nn.BatchNorm2d(3), "strange: not ours, convert the model first"),
    (ours.BatchNorm2d(3, track_running_stats=False), "strange: it has no running statistics"),
    (ours.BatchNorm2d(3).adapt(), r"strange: it is adapting, call its adapt\(False\) first"),
]


@pytest.mark.parametrize(("layer", "words"), REFUSED)
def test_a_layer_that_cannot_be_frozen_is_refused_by_name(layer, words):
    model = nn.ModuleDict({"usual": ours.BatchNorm2d(3), "strange": layer})
    before = snapshot(model)
    with pytest.raises(SurgeryError, match=words):
        freeze(model)
    assert snapshot(model) == before
    freeze(model, names=["usual"])
    assert model["usual"].frozen


def test_layers_of_torch_are_refused_by_name():
    with pytest.raises(SurgeryError, match="0: not ours, convert the model first"):
        unfreeze(nn.Sequential(nn.BatchNorm1d(3)))


def test_a_model_without_layers_is_refused():
    with pytest.raises(SurgeryError, match="a model with batch normalization is needed"):
        freeze(nn.Linear(3, 3))


def test_a_strange_name_is_refused():
    with pytest.raises(OptionError, match=r"names must be those of .* got 1, no\.such"):
        freeze(nn.Sequential(ours.BatchNorm1d(3), nn.Linear(3, 3)), names=["0", "1", "no.such"])


def test_a_failure_in_the_middle_restores_the_model(monkeypatch):
    model = model_of_ours()
    before, calls = snapshot(model), []

    def failing(layer, changes):
        calls.append(layer)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(layer, changes)

    real = _freeze.remember
    monkeypatch.setattr(_freeze, "remember", failing)
    with pytest.raises(KeyboardInterrupt):
        freeze(model, affine=True)
    assert len(calls) == 3
    assert snapshot(model) == before


def test_layers_that_are_no_subclass_of_torch_s_are_frozen_too():
    """Decorrelation keeps a covariance; the layers inside domains are ordinary ones."""
    model = nn.ModuleDict(
        {"decorrelated": ours.DecorrelatedBatchNorm1d(3), "domains": ours.DomainBatchNorm1d(3, 2)}
    )
    record = freeze(model, affine=True)
    assert [row.module for row in record.changes] == [
        "decorrelated", "domains.domains.0", "domains.domains.1"
    ]  # fmt: skip
    assert model["decorrelated"].frozen
    assert not any(parameter.requires_grad for parameter in model.parameters())
    unfreeze(model)
    assert not model["decorrelated"].frozen
    assert all(parameter.requires_grad for parameter in model.parameters())
