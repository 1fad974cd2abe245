"""Real architectures: no batch normalization stays, and no output changes beyond rounding."""

import copy

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm._model._behaviour import relative_error
from batchnorm._model._call import tensors
from batchnorm.surgery import fold
from support.models.surgery import UNet, settle

SMALL = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 24], "depths": [1, 1, 2, 1]}
CONFIGURATIONS = {
    "ResNet": SMALL,
    "RegNet": SMALL | {"groups_width": 4},
    "MobileNetV2": {"depth_multiplier": 0.2},
    "EfficientNet": {
        "width_coefficient": 0.2,
        "depth_coefficient": 0.2,
        "image_size": 64,
        "hidden_dim": 256,
    },
    "Levit": {
        "image_size": 64,
        "hidden_sizes": [16, 32, 48],
        "num_attention_heads": [2, 2, 2],
        "depths": [1, 1, 1],
        "key_dim": [8, 8, 8],
    },
}


def build(name):
    if name == "U-Net":
        return UNet(width=4)
    transformers = pytest.importorskip(
        "transformers", reason="its architectures are what is folded here"
    )
    configuration = getattr(transformers, f"{name}Config")(**CONFIGURATIONS[name])
    return getattr(transformers, f"{name}Model")(configuration)


DEEP = ("ResNet", "MobileNetV2", "EfficientNet", "Levit")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in DEEP else [])
        for name in (*CONFIGURATIONS, "U-Net")
    ],
)
def test_everything_is_folded_and_nothing_changes(name):
    model = settle(build(name)).eval()
    x = torch.randn(2, 3, 64, 64)
    inputs = {"x" if name == "U-Net" else "pixel_values": x}
    for dtype, bound in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        twin = copy.deepcopy(model).to(dtype)
        norms = [module for module in twin.modules() if isinstance(module, _BatchNorm)]
        call = {name: value.to(dtype) for name, value in inputs.items()}
        with torch.no_grad():
            before = list(tensors(twin(**call)))
        record = fold(twin, call)
        with torch.no_grad():
            after = list(tensors(twin(**call)))
        assert record.left == ()
        assert len(record.done) == len(norms) >= 3
        assert not any(isinstance(module, _BatchNorm) for module in twin.modules())
        assert record.largest_error <= bound
        for found, expected in zip(after, before, strict=True):
            assert relative_error(found, expected) <= bound
