"""Parameter groups for optimizers: what normalization scales is not to decay."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from batchnorm.errors import OptionError
from batchnorm.nn._modes import check_model

_NORMALIZATIONS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
# Classes of other packages, such as LlamaRMSNorm, T5LayerNorm and LayerNorm2d.
_NORM_NAME = re.compile(r"Norm(\dd)?$")
# Where torch keeps what a parametrization has taken over: the parameter's own name is in front.
_PARAMETRIZED = re.compile(r"^(?:(.*)\.)?parametrizations\.([^.]+)\.original\d*$")


def no_decay_groups(
    model: nn.Module, weight_decay: float, *, biases: bool = True
) -> list[dict[str, Any]]:
    r"""Group a model's parameters for an optimizer: no weight decay for normalization.

    Weight decay on the weights before a batch-norm layer leaves its output as it is, and acts on
    the learning rate; on its `weight` and `bias` it pulls the output itself towards zero.

    Args:
        model: any model. Normalization are torch's layers (batch, instance, group, layer, RMS)
            and what derives from them, and modules whose class name ends in ``Norm``, or
            ``Norm1d`` and so on.
        weight_decay: for all other parameters.
        biases: spare the biases of all layers, too, as is usual: parameters with ``bias`` as a
            word of their name, such as ``in_proj_bias`` and ``bias_hh_l0``.

    Returns:
        One group with `weight_decay` and one without, each where it has parameters; with
        ``param_names``, which torch's optimizers keep. Every parameter that requires a gradient
        is in exactly one; a shared one under its first name, and without decay if any of its
        uses is.

    Raises:
        OptionError: `weight_decay` is negative or not a number.

    References:
        He et al. (2019), "Bag of Tricks for Image Classification with Convolutional Neural
        Networks", section 3.1; van Laarhoven (2017), "L2 Regularization versus Batch and Weight
        Normalization".

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> groups = no_decay_groups(model, 1e-4)
        >>> [(group["weight_decay"], group["param_names"]) for group in groups]
        [(0.0001, ['0.weight']), (0.0, ['0.bias', '1.weight', '1.bias'])]
        >>> optimizer = torch.optim.SGD(groups, lr=0.1)
    """
    check_model(model)
    if not weight_decay >= 0.0:
        raise OptionError(f"weight_decay must not be negative, got {weight_decay}: 0 turns it off")
    spared = {id(p) for module, name, p in _owned(model) if _is_spared(module, name, biases)}
    groups = []
    for decay, without in ((weight_decay, False), (0.0, True)):
        named = [
            (name, parameter)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and (id(parameter) in spared) == without
        ]
        if named:
            names, parameters = (list(each) for each in zip(*named, strict=True))
            groups.append({"params": parameters, "param_names": names, "weight_decay": decay})
    return groups


def _owned(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Yield every use of a parameter: its module, its name there, and itself."""
    for path, parameter in model.named_parameters(remove_duplicate=False):
        owner, _, name = path.rpartition(".")
        if parametrized := _PARAMETRIZED.match(path):
            owner, name = parametrized.groups(default="")
        yield model.get_submodule(owner), name, parameter


def _is_spared(module: nn.Module, name: str, biases: bool) -> bool:
    normalizes = isinstance(module, _NORMALIZATIONS) or _NORM_NAME.search(type(module).__name__)
    return bool(normalizes) or (biases and "bias" in name.split("_"))
