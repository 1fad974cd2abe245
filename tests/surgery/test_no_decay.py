"""Which parameters of which layers decay."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import batchnorm
from batchnorm.errors import OptionError
from batchnorm.surgery import no_decay_groups


class LlamaRMSNorm(nn.Module):
    """A normalization of another package, known by its name."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))


class Debiased(nn.Module):
    """Has a parameter whose name only contains the word."""

    def __init__(self):
        super().__init__()
        self.unbiased_scale = nn.Parameter(torch.ones(4))
        self.bias_table = nn.Parameter(torch.ones(4))


class NormalizedLinear(nn.Linear):
    """No normalization layer, whatever it is called."""


class LayerNorm2d(LlamaRMSNorm):
    pass


def decaying(model, **options):
    """Return the names that decay and those that do not; every one is in one group only."""
    groups = no_decay_groups(model, 0.1, **options)
    found = {group["weight_decay"]: group["param_names"] for group in groups}
    assert len(found) == len(groups)
    parameters = [parameter for group in groups for parameter in group["params"]]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len({*parameters}) == len(parameters) == len(trained)
    named = dict(model.named_parameters())
    for group in groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            assert named[name] is parameter
    return found.get(0.1, []), found.get(0.0, [])


ALL = ["weight", "bias"]
LAYERS = [
    (nn.Linear(2, 3), ["weight"], ["bias"]),
    (nn.Conv2d(2, 3, 1), ["weight"], ["bias"]),
    (nn.Embedding(2, 3), ["weight"], []),
    (nn.BatchNorm2d(3), [], ALL),
    (nn.SyncBatchNorm(3), [], ALL),
    (batchnorm.nn.BatchNorm1d(3, bias=False), [], ["weight"]),
    (nn.InstanceNorm1d(3, affine=True), [], ALL),
    (nn.GroupNorm(1, 3), [], ALL),
    (nn.LayerNorm((3, 4)), [], ALL),
    (nn.RMSNorm(3), [], ["weight"]),
    (LlamaRMSNorm(), [], ["weight"]),
    (LayerNorm2d(), [], ["weight"]),
    (NormalizedLinear(2, 3), ["weight"], ["bias"]),
    (Debiased(), ["unbiased_scale"], ["bias_table"]),
    (
        nn.LSTM(2, 3),
        ["weight_ih_l0", "weight_hh_l0"],
        ["bias_ih_l0", "bias_hh_l0"],
    ),
    (
        nn.MultiheadAttention(4, 2, add_bias_kv=True),
        ["in_proj_weight", "out_proj.weight"],
        ["in_proj_bias", "bias_k", "bias_v", "out_proj.bias"],
    ),
    (
        parametrizations.weight_norm(nn.Linear(2, 3)),
        ["parametrizations.weight.original0", "parametrizations.weight.original1"],
        ["bias"],
    ),
    (
        nn.Sequential(nn.Linear(2, 3), parametrizations.spectral_norm(nn.Conv2d(2, 3, 1), "bias")),
        ["0.weight", "1.weight"],
        ["0.bias", "1.parametrizations.bias.original"],
    ),
]


@pytest.mark.parametrize(("model", "decayed", "spared"), LAYERS)
def test_every_layer(model, decayed, spared):
    found = decaying(model)
    assert (set(found[0]), set(found[1])) == (set(decayed), set(spared))


def test_biases_may_decay():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert decaying(model, biases=False) == (["0.weight", "0.bias"], ["1.weight", "1.bias"])


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    model[1].requires_grad_(False)
    assert decaying(model) == (["0.weight"], ["0.bias"])
    assert no_decay_groups(model.requires_grad_(False), 0.1) == []


def test_a_shared_parameter_is_spared_if_any_use_is():
    model = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4), nn.Linear(4, 3), nn.BatchNorm1d(3))
    model[1].weight = model[0].weight
    model[3].weight = nn.Parameter(torch.ones(3))
    model[2].bias = model[3].weight
    assert decaying(model, biases=False) == (
        ["0.weight", "1.bias", "2.weight"],
        ["2.bias", "3.bias"],
    )


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_an_optimizer_takes_the_groups_and_their_names(optimizer):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    steps = optimizer(no_decay_groups(model, 0.5), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    steps.step()
    moved = [
        n for n, parameter in model.named_parameters() if not torch.equal(parameter, before[n])
    ]
    assert moved == ["0.weight"]
    names = [group["param_names"] for group in steps.state_dict()["param_groups"]]
    assert names == [["0.weight"], ["0.bias", "1.weight", "1.bias"]]


@pytest.mark.parametrize("weight_decay", [-0.1, float("nan")])
def test_a_negative_decay_is_refused(weight_decay):
    with pytest.raises(OptionError, match=f"not be negative, got {weight_decay}"):
        no_decay_groups(nn.Linear(2, 2), weight_decay)
