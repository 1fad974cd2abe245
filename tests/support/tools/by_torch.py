"""What torch's own tools make of a network, each checked against the network itself.

A tool returns what became of it in a word or two, and raises `AssertionError` where it would be
another function in silence.
"""

import copy
import warnings

import torch
from torch import nn
from torch.ao.quantization import (
    DeQuantStub,
    QConfigMapping,
    QuantStub,
    convert,
    fuse_modules,
    fuse_modules_qat,
    get_default_qconfig,
    prepare,
    quantize_fx,
)
from torch.optim import swa_utils

from support.tools.installed import package
from support.tools.nets import Each, images, trained

SAME = "same"
NEAR = {"atol": 1e-5, "rtol": 1e-4}


class Alone(nn.Module):
    """An identity that a call may give more, as a residual that a tool has forgotten."""

    def forward(self, x, *_, **__):
        return x


class EachOfDense(Each):
    def forward(self, x):
        return super().forward(x.to_dense())


def evaluates_as(net, other, x, **near):
    with torch.no_grad():
        torch.testing.assert_close(other(x), net(x), **(near or NEAR))
    return SAME


def trains_as(net, other, x):
    """Compare outputs in training, and what the batch leaves."""
    net, other = copy.deepcopy(net).train(), other.train()
    torch.testing.assert_close(other(x), net(x), **NEAR)
    return evaluates_as(net.eval(), other.eval(), x)


def convert_sync_batchnorm(option):
    net = trained(option)
    convert = nn.SyncBatchNorm.convert_sync_batchnorm
    return trains_as(net, convert(copy.deepcopy(net)), images(7))


def fuse_conv_bn_eval(option):
    net, other = trained(option), trained(option)
    other.map = nn.utils.fusion.fuse_conv_bn_eval(other.map, other.norm)
    other.norm = Alone()
    return evaluates_as(net, other, images(7))


def fuse_linear_bn_eval(option):
    net, other = trained(option, 1), trained(option, 1)
    other.map = nn.utils.fusion.fuse_linear_bn_eval(other.map, other.norm)
    other.norm = Alone()
    return evaluates_as(net, other, images(7, dims=1))


def to_mkldnn(option):
    net, mkldnn = trained(option), package("torch.utils.mkldnn")
    other, x = mkldnn.to_mkldnn(copy.deepcopy(net)), images(7)
    if option == "conditional":  # what it is conditioned on is not what the tool blocks
        other.each = EachOfDense()
    with torch.no_grad():
        y = other(x.to_mkldnn()).to_dense()
    torch.testing.assert_close(y, net(x), **NEAR)
    return SAME


def update_bn(option):
    return estimates_anew(option, swa_utils.update_bn)


def estimates_anew(option, update):
    """Let a tool estimate the statistics of two batches, and compare with their average."""
    net, batches = trained(option), [images(11), images(12)]
    before = copy.deepcopy(net)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        update(batches, net)
    if option == "frozen":
        assert "frozen" in str(said[0].message)
        evaluates_as(before, net, images(7))
        return "left alone"
    mean = torch.stack([net.map(x).mean((0, 2, 3)) for x in batches]).mean(0)
    torch.testing.assert_close(net.norm.running_mean, mean.detach(), **NEAR)
    return SAME


def averaged_model(option):
    net = trained(option)
    averaged = swa_utils.AveragedModel(
        net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True
    )
    for _ in range(2):
        averaged.update_parameters(net)
    evaluates_as(net, averaged, images(7))
    averaged.train()(images(8))
    return evaluates_as(averaged.eval(), copy.deepcopy(averaged), images(7))


def without_running_stats(option):
    net, x = trained(option).train(), images(7)
    other = torch.func.replace_all_batch_norm_modules_(copy.deepcopy(net))
    with torch.no_grad():
        torch.testing.assert_close(other(x), net(x), **NEAR)
    return SAME


def eager_fuse_modules(option):
    net = trained(option)
    other = fuse_modules(copy.deepcopy(net), ["map", "norm"])
    other.norm = Alone()
    return evaluates_as(net, other, images(7))


def eager_fuse_modules_qat(option):
    net = trained(option)
    other = fuse_modules_qat(copy.deepcopy(net).train(), ["map", "norm"])
    other.norm = Alone()
    return trains_as(net, other, images(7))


def eager_quantization(option):
    """Quantize a layer alone, as behind an addition, where there is nothing to fuse it with."""
    net, x = trained(option), images(7)
    other = nn.Sequential(QuantStub(), copy.deepcopy(net), DeQuantStub()).eval()
    other.qconfig = get_default_qconfig("x86")
    prepare(other, inplace=True)
    other(x)
    convert(other, inplace=True)
    return evaluates_as(net, other, x, atol=0.06 * net(x).abs().max().item(), rtol=0.0)


def fx_quantization(option):
    net, x = trained(option), images(7)
    mapping = QConfigMapping().set_global(get_default_qconfig("x86"))
    other = quantize_fx.prepare_fx(copy.deepcopy(net), mapping, (x,))
    other(x)
    other = quantize_fx.convert_fx(other)
    size = net(x).abs().max().item()
    evaluates_as(net, other, x, atol=0.03 * size, rtol=0.0)
    return "same, in floating point"


def fx_fuse(option):
    net = trained(option)
    other = package("torch.fx.experimental.optimization").fuse(net)
    evaluates_as(net, other, images(7))
    return "same, not fused"


def export_evaluation(option):
    net, x = trained(option), images(7)
    return evaluates_as(net, torch.export.export(net, (x,)).module(), images(8))


def export_training(option):
    net = trained(option).train()
    other = torch.export.export(copy.deepcopy(net), (images(7),)).module()
    x = images(8)
    torch.testing.assert_close(other(x), net(x), **NEAR)
    for name, buffer in net.named_buffers():
        found = dict(other.named_buffers()).get(name)
        if found is not None:
            torch.testing.assert_close(found, buffer, **NEAR)
    return SAME


def script(option):
    net = nn.Sequential(trained(option).norm).eval()
    return evaluates_as(net, torch.jit.script(net), torch.randn(8, 4, 5, 5))


def trace(option):
    net = trained(option)
    return evaluates_as(net, torch.jit.trace(net, images(7)), images(8))


def compiled(option):
    net = trained(option)
    torch.compiler.reset()
    return evaluates_as(net, torch.compile(net, backend="aot_eager"), images(7))


TOOLS = {
    "torch.nn.SyncBatchNorm.convert_sync_batchnorm": convert_sync_batchnorm,
    "torch.nn.utils.fusion.fuse_conv_bn_eval": fuse_conv_bn_eval,
    "torch.nn.utils.fusion.fuse_linear_bn_eval": fuse_linear_bn_eval,
    "torch.utils.mkldnn.to_mkldnn": to_mkldnn,
    "torch.optim.swa_utils.update_bn": update_bn,
    "torch.optim.swa_utils.AveragedModel(use_buffers=True)": averaged_model,
    "torch.func.replace_all_batch_norm_modules_": without_running_stats,
    "torch.ao.quantization.fuse_modules": eager_fuse_modules,
    "torch.ao.quantization.fuse_modules_qat": eager_fuse_modules_qat,
    "torch.ao.quantization.prepare, convert, unfused": eager_quantization,
    "torch.ao.quantization.quantize_fx": fx_quantization,
    "torch.fx.experimental.optimization.fuse": fx_fuse,
    "torch.export in evaluation": export_evaluation,
    "torch.export in training": export_training,
    "torch.jit.script": script,
    "torch.jit.trace": trace,
    "torch.compile": compiled,
}
