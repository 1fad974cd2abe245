"""Networks of torchvision and timm: converted, given back and folded, layer by layer."""

import copy

import pytest
import torch

from batchnorm._model._find import is_batch_norm
from batchnorm.nn import Layer
from batchnorm.surgery import convert, fold, revert
from support.models.surgery import settle
from support.tools.installed import package

TORCHVISION = (
    "densenet121", "efficientnet_b0", "mobilenet_v2", "mobilenet_v3_large", "regnet_y_400mf",
    "resnet50",
)  # fmt: skip
TIMM = (
    "densenet121", "efficientnet_b0", "hrnet_w18_small", "mobilenetv2_100", "mobilenetv3_large_100",
    "regnety_004", "repvgg_a0", "resnet50",
)  # fmt: skip
NETWORKS = [("torchvision", name) for name in TORCHVISION] + [("timm", name) for name in TIMM]
SHARED = {"densenet121": 62}  # layers whose input serves others, behind an activation

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def build(home, name):
    torch.manual_seed(0)
    vision = package("torchvision")  # which timm needs too
    if home == "torchvision":
        return settle(vision.models.get_model(name, weights=None, num_classes=10))
    return settle(package("timm").create_model(name, num_classes=10))


def layers(model):
    return [name for name, module in model.named_modules() if is_batch_norm(module)]


def make(model):
    """Return what a model is made of, beside its values."""
    return {
        name: (type(module), sorted(vars(module)), module.training)
        for name, module in model.named_modules(remove_duplicate=False)
    }


@pytest.mark.parametrize(("home", "name"), NETWORKS)
def test_everything_is_converted_and_comes_back(home, name):
    model, x = build(home, name), torch.randn(2, 3, 64, 64)
    before, state = make(model), list(model.state_dict())
    expected = copy.deepcopy(model).eval()(x)
    convert(model, fuse=True, example_inputs=x)
    ours = [module for module in model.modules() if isinstance(module, Layer)]
    assert len(layers(model)) == len(ours)
    assert len(revert(model).done) == len(ours)
    assert make(model) == before
    assert list(model.state_dict()) == state
    assert torch.equal(model.eval()(x), expected)


@pytest.mark.parametrize("converted", [False, True])
@pytest.mark.parametrize(("home", "name"), NETWORKS)
def test_everything_is_folded(home, name, converted):
    model, x = build(home, name), torch.randn(2, 3, 64, 64)
    if converted:
        convert(model)
    expected, number, shared = model.eval()(x), len(layers(model)), SHARED.get(name, 0)
    record = fold(model, x)
    assert (len(record.done), len(record.left)) == (number - shared, shared)
    assert len(layers(model)) == shared
    assert all("serves others too" in row.detail for row in record.left)
    torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-3)
