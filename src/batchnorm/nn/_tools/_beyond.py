"""What a layer does beyond torch's, which a layer of torch's with the same tensors would not do."""

from typing import Any

from torch import nn

_EVALUATION: dict[str, Any] = {"activation": None, "debias": False, "adapting": False}
_TRAINING: dict[str, Any] = {**_EVALUATION, "frozen": False, "correction": 1}


def way_out(layer: nn.Module, way: str) -> str:
    """Return what to do about a layer: `way`, or for one that torch has no like of, to leave it."""
    if getattr(layer, "_like_torch", "never") == "always":
        return way
    return (
        f"torch has no layer like {type(layer).__name__}, and batchnorm.revert makes none of it: "
        "leave it out, or put another in its place"
    )


def beyond_torch(layer: nn.Module, *, training: bool) -> list[str]:
    """Return in words what a layer of torch's in this one's place would not do.

    Args:
        layer: one of ours.
        training: whether the other layer is to train, or only to evaluate.
    """
    usual = _TRAINING if training else _EVALUATION
    found = [
        f"{name}={getattr(layer, name)!r}"
        for name, value in usual.items()
        if getattr(layer, name, value) != value
    ]
    if training and getattr(layer, "nonfinite", "skip") == "raise":
        found.append("nonfinite='raise'")
    if getattr(layer, "_given_more", False):
        found.append("a residual, a mask or sample weights in a call")
    alike = getattr(layer, "_like_torch", "never")
    if alike == "never" or (training and alike == "evaluation"):
        found.insert(0, type(layer).__name__)
    return found
