"""What other packages make of a network: torchao, onnxruntime, timm, Lightning, opacus, captum."""

import copy
import warnings

import torch
from torch import nn

from support.tools.by_torch import (
    SAME,
    Alone,
    estimates_anew,
    evaluates_as,
    trains_as,
)
from support.tools.installed import package
from support.tools.nets import Net, images, trained

# ------------------------------------------------------------------------------ torchao


def _quantizer(*, is_qat):
    package("torchao.quantization.pt2e.quantize_pt2e")
    module = package("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    quantizer = module.X86InductorQuantizer()
    return quantizer.set_global(module.get_default_x86_inductor_quantization_config(is_qat=is_qat))


def pt2e(option):
    quantize = package("torchao.quantization.pt2e.quantize_pt2e")
    quantizer = _quantizer(is_qat=False)
    net, x = trained(option), images(7)
    program = torch.export.export(copy.deepcopy(net), (x,)).module()
    prepared = quantize.prepare_pt2e(program, quantizer)
    prepared(x)
    size = net(x).abs().max().item()
    return evaluates_as(net, quantize.convert_pt2e(prepared), x, atol=0.05 * size, rtol=0.0)


def pt2e_qat(option):
    """Train no step: the statistics of the one batch are those of the network in evaluation."""
    quantize = package("torchao.quantization.pt2e.quantize_pt2e")
    switch = package("torchao.quantization.pt2e").move_exported_model_to_eval
    quantizer = _quantizer(is_qat=True)
    net, x = trained(option).train(), images(7)
    program = torch.export.export(copy.deepcopy(net), (x,)).module()
    prepared = quantize.prepare_qat_pt2e(program, quantizer)
    for _ in range(3):
        net(x)
        prepared(x)
    converted = switch(quantize.convert_pt2e(prepared))
    net.eval()
    size = net(x).abs().max().item()
    return evaluates_as(net, converted, x, atol=0.06 * size, rtol=0.0)


# ------------------------------------------------------------------------- onnxruntime


def onnx_half(option):
    package("onnxruntime")
    from support.models.onnx import Exported

    net, x = trained(option).half(), images(7).half()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = Exported(net, x, dynamo=True)(x)
    torch.testing.assert_close(y, net(x).detach(), atol=2e-2, rtol=1e-2)
    return SAME


# --------------------------------------------------------------------------------- timm


def timm_sync(option):
    convert = package("timm.layers").convert_sync_batchnorm
    net = trained(option)
    return trains_as(net, convert(copy.deepcopy(net)), images(7))


def timm_freeze(option):
    freeze = package("timm.utils.model").freeze
    net, x = trained(option), images(7)
    other = copy.deepcopy(net)
    freeze(other)
    torch.testing.assert_close(other(x), net(x))
    before = copy.deepcopy(other)
    other.train()(images(8))
    if any("Frozen" in type(m).__name__ for m in other.modules()):
        return evaluates_as(before.eval(), other.eval(), x)
    return "weights frozen, statistics as torch's other layers"


def timm_split(option):
    convert = package("timm.layers").convert_splitbn_model
    net = trained(option)
    return evaluates_as(net, convert(copy.deepcopy(net), 2).eval(), images(7))


# ---------------------------------------------------------------------------- Lightning


def lightning_sync(option):
    sync = package("lightning.pytorch.plugins.layer_sync").TorchSyncBatchNorm()
    net, x = trained(option), images(7)
    other = sync.apply(copy.deepcopy(net))
    trains_as(net, copy.deepcopy(other), x)
    return evaluates_as(net, sync.revert(other).eval(), x)


def lightning_swa(option):
    averaging = package("lightning.pytorch.callbacks").StochasticWeightAveraging(1e-3)

    def update(batches, net):
        net.device = torch.device("cpu")
        averaging.reset_batch_norm_and_save_state(net)
        net.train()
        for batch in batches:
            net(batch)
        averaging.reset_momenta()
        net.eval()

    return estimates_anew(option, update)


def lightning_freeze(option):
    freeze = package("lightning.pytorch.callbacks").BaseFinetuning.freeze
    net, x = trained(option), images(7)
    other = copy.deepcopy(net)
    freeze(other, train_bn=False)
    evaluates_as(net, other, x)
    other.train()(images(8))
    return evaluates_as(net, other.eval(), x)


# ------------------------------------------------------------------------------- opacus


def opacus_validator(option):
    validator = package("opacus.validators").ModuleValidator
    net = trained(option).train()
    errors = validator.validate(net)
    if not list(net.norm.parameters()):
        assert validator.is_valid(nn.Sequential(nn.BatchNorm2d(4, affine=False)).train())
        return "not asked about layers without parameters, as torch's"
    assert any("differential privacy" in str(error) for error in errors), errors
    fixed = validator.fix(net)
    assert validator.is_valid(fixed)
    assert any(isinstance(m, nn.GroupNorm) for m in fixed.modules())
    return "refused by opacus, as torch's"


# ------------------------------------------------------------------------------- captum


class Score(nn.Module):
    """Behind a network of the table, what makes a score of its channels."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).sum((2, 3))


class Twin(Net):
    """The same network by torch's layers, with its activation as a module."""

    def __init__(self, net):
        super().__init__(net.option)
        self.load_state_dict(net.state_dict(), strict=False)
        self.norm = nn.BatchNorm2d(4)
        self.norm.load_state_dict(net.norm.state_dict(), strict=False)


def _attributions(option, method):
    captum = package("captum.attr")
    net, x = Score(trained(option)), images(7)
    baselines = torch.zeros_like(x)

    def attribute(model):
        explain = getattr(captum, method)(model)
        given = {"baselines": baselines} if method == "DeepLift" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return explain.attribute(x.clone().requires_grad_(), target=1, **given).detach()

    found = attribute(net)
    if method == "DeepLift":  # what it explains adds up to the difference that there is
        difference = (net(x) - net(baselines))[:, 1].detach()
        torch.testing.assert_close(found.sum((1, 2, 3)), difference, atol=1e-3, rtol=1e-3)
    if option in {"plain", "frozen"}:
        torch.testing.assert_close(found, attribute(Score(Twin(net.net)).eval()), **_CLOSE)
    return SAME


_CLOSE = {"atol": 1e-4, "rtol": 1e-3}


def captum_deep_lift(option):
    return _attributions(option, "DeepLift")


def captum_guided(option):
    return _attributions(option, "GuidedBackprop")


def captum_relevance(option):
    return _attributions(option, "LRP")


# ------------------------------------------------------------- copies of well-known code


def vendored_fusion(option):
    """Fuse as detection repositories do, each with a copy of one function."""
    net, other = trained(option), trained(option)

    def fuse_conv_and_bn(conv, bn):
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        fused = copy.deepcopy(conv)
        fused.weight.data = conv.weight.data * scale.reshape(-1, 1, 1, 1)
        fused.bias.data = bn.bias + (conv.bias - bn.running_mean) * scale
        return fused

    other.map = fuse_conv_and_bn(other.map, other.norm)
    other.norm = Alone()
    return evaluates_as(net, other, images(7))


def vendored_freezing(option):
    """Freeze as detection repositories do, by a class with buffers alone."""

    def convert_frozen_batchnorm(module):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            scale = module.weight * (module.running_var + module.eps).rsqrt()
            return _Frozen(scale.detach(), (module.bias - module.running_mean * scale).detach())
        for name, child in module.named_children():
            setattr(module, name, convert_frozen_batchnorm(child))
        return module

    net = trained(option)
    return evaluates_as(net, convert_frozen_batchnorm(copy.deepcopy(net)), images(7))


class _Frozen(nn.Module):
    def __init__(self, scale, shift):
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x):
        return x * self.scale.view(1, -1, 1, 1) + self.shift.view(1, -1, 1, 1)


def captum_grad_cam(option):
    """Read what a layer gives, whatever it holds."""
    captum = package("captum.attr")
    net, x = Score(trained(option)), images(7).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = captum.LayerGradCam(net, net.net.norm).attribute(x, target=1)
    y = net.net(x)
    (slope,) = torch.autograd.grad(y.sum((2, 3))[:, 1].sum(), y)
    wanted = (slope.mean((2, 3), keepdim=True) * y).sum(1, keepdim=True)
    torch.testing.assert_close(found, wanted.detach(), **_CLOSE)
    return SAME


TOOLS = {
    "torchao: prepare_pt2e, convert_pt2e": pt2e,
    "torchao: prepare_qat_pt2e, move_exported_model_to_eval": pt2e_qat,
    "torch.onnx.export of model.half(), onnxruntime": onnx_half,
    "timm.layers.convert_sync_batchnorm": timm_sync,
    "timm.utils.freeze": timm_freeze,
    "timm.layers.convert_splitbn_model": timm_split,
    "Lightning: Trainer(sync_batchnorm=True)": lightning_sync,
    "Lightning: StochasticWeightAveraging": lightning_swa,
    "Lightning: BaseFinetuning.freeze": lightning_freeze,
    "opacus: ModuleValidator": opacus_validator,
    "captum: DeepLift": captum_deep_lift,
    "captum: GuidedBackprop": captum_guided,
    "captum: LRP": captum_relevance,
    "captum: LayerGradCam": captum_grad_cam,
    "copies of fuse_conv_and_bn": vendored_fusion,
    "copies of convert_frozen_batchnorm": vendored_freezing,
}
