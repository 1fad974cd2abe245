"""Other people's tools with our options: the same function, or an error of ours with a way out."""

import pytest
import torch

from batchnorm import nn as ours
from batchnorm.errors import OptionError
from support.tools import table
from support.tools.nets import OPTIONS, images, trained

# A minute for each layer, and seconds; of the latter a few stand for all in the default run.
SLOW = {"torchao: prepare_qat_pt2e, move_exported_model_to_eval": (),
        "torchao: prepare_pt2e, convert_pt2e": ("plain", "debias"),
        "torch.onnx.export of model.half(), onnxruntime": ("activation",)}  # fmt: skip
CELLS = [
    pytest.param(
        tool, option, marks=[pytest.mark.slow] if option not in SLOW.get(tool, OPTIONS) else []
    )
    for tool in table.TOOLS
    for option in OPTIONS
]
WRITTEN = table.written()
# Of the packages, which warn of each other and of torch.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_page_has_every_cell():
    assert WRITTEN.keys() == {(tool, option) for tool in table.TOOLS for option in OPTIONS}


@pytest.mark.parametrize(("tool", "option"), CELLS)
def test_a_cell_is_as_the_page_says(tool, option):
    assert table.cell(tool, option) == WRITTEN[tool, option]


def test_a_tool_that_loses_the_activation_is_found_out():
    def remade(net):
        norm = torch.nn.BatchNorm2d(4).eval()
        norm.load_state_dict(net.norm.state_dict())
        net.norm = norm
        return net

    with pytest.raises(AssertionError, match="not close"):
        table.by_torch.evaluates_as(trained("activation"), remade(trained("activation")), images())
    table.by_torch.evaluates_as(trained("plain"), remade(trained("plain")), images())


# --------------------------------------------------------------------------- recognition

READERS = ["fuse_conv_and_bn", "_fuse_bn_tensor", "merge_bn", "absorb_bn", "fold_batch_norm",
           "switch_to_deploy", "convert_frozen_batchnorm", "freeze_bn", "convert_to_other",
           "reparameterize"]  # fmt: skip


def reader(name):
    """Return a function of this name that rebuilds a layer of its tensors."""
    scope = {"__name__": "elsewhere"}
    code = f"def {name}(bn):\n    return bn.weight / (bn.running_var + bn.eps).sqrt()"
    exec(code, scope)  # noqa: S102 -- the name is what is tested
    return scope[name]


@pytest.mark.parametrize("name", READERS)
def test_a_function_that_rebuilds_a_layer_is_recognized_by_its_name(name):
    plain, fused = ours.BatchNorm2d(3), ours.BatchNorm2d(3, activation="silu")
    assert torch.equal(reader(name)(plain), reader("scale_of")(fused))
    with pytest.raises(OptionError, match=rf"{name} of elsewhere .* activation='silu'"):
        reader(name)(fused)


def test_a_function_that_forgets_eps_is_recognized_too():
    def replace_batch_norm(module):
        return [module.weight, module.bias, module.running_mean, module.running_var]

    assert len(replace_batch_norm(ours.BatchNorm2d(3))) == 4
    with pytest.raises(OptionError, match=r"replace_batch_norm .* debias=True.*\.revert"):
        replace_batch_norm(ours.BatchNorm2d(3, debias=True))


def test_an_expression_over_the_tensors_is_free():
    layer = ours.BatchNorm2d(3, activation="relu", debias=True).freeze()
    assert reader("reference")(layer).shape == (3,)
    assert layer.running_mean.shape == layer.state_dict()["running_var"].shape


LOST = {
    "adapting": lambda: ours.BatchNorm2d(4).eval().adapt(),
    "correction": lambda: ours.BatchNorm2d(4, correction=0),
    "nonfinite": lambda: ours.BatchNorm2d(4, nonfinite="raise"),
    "ClassConditional": lambda: ours.ClassConditionalBatchNorm2d(4, 3),
}


@pytest.mark.parametrize("word", LOST)
def test_what_synchronization_would_lose_is_named(word):
    model = torch.nn.Sequential(LOST[word]())
    with pytest.raises(OptionError, match=rf"convert_sync_batchnorm .*{word}"):
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert type(model[0]).__module__.startswith("batchnorm")


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_frozen_statistics_are_not_started_anew_by_an_assignment(name):
    layer = ours.BatchNorm2d(2)
    layer(images()[:, :2])
    before = getattr(layer.freeze(), name).clone()
    start = torch.zeros(2) if name == "running_mean" else torch.ones(2)
    with pytest.warns(UserWarning, match="call unfreeze"):
        setattr(layer, name, start)
    assert torch.equal(getattr(layer, name), before)
    setattr(layer, name, before + 1.0)
    assert torch.equal(getattr(layer, name), before + 1.0)
    setattr(layer.unfreeze(), name, start)
    assert torch.equal(getattr(layer, name), start)
