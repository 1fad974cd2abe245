"""Opacus: its validator knows batch normalization by torch's exact types, and is told of ours."""

import sys
from typing import Any

from torch import nn

from batchnorm.errors import OptionError
from batchnorm.nn._tools._beyond import beyond_torch, way_out

_REVERT = "call batchnorm.revert(model) first, or choose the replacement yourself"


def register_with_opacus(kind: type[nn.Module]) -> None:
    """Have opacus, where it is loaded, judge and repair a class of ours as it does torch's.

    A batch-norm layer mixes the samples of a batch, so that no noise on their gradients makes
    training differentially private; passing its validator would be a false promise.
    """
    validators = sys.modules.get("opacus.validators.module_validator")
    known: Any = getattr(validators, "ModuleValidator", None)
    if known is None or kind in known.VALIDATORS:
        return
    judge, repair = known.VALIDATORS.get(nn.BatchNorm2d), known.FIXERS.get(nn.BatchNorm2d)
    if judge is not None:
        known.VALIDATORS[kind] = judge
    if repair is not None:
        known.FIXERS[kind] = lambda layer, **options: repair(_checked(layer), **options)


def _checked(layer: nn.Module) -> nn.Module:
    """Refuse to replace a layer that holds more than the normalization."""
    found = beyond_torch(layer, training=False)
    if found:
        raise OptionError(
            "ModuleValidator.fix puts a group normalization in a layer's place, got "
            f"{', '.join(found)}, which would be lost: {way_out(layer, _REVERT)}"
        )
    return layer
