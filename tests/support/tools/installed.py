"""Other people's packages: imported where they are installed, whatever they warn of."""

import importlib.util
import warnings

import pytest
import torch

_SUPPRESSION = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def package(name):
    """Return a module of a package that need not be installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)


def let_torchvision_import():
    """Declare two operators of torchvision, whose wheels in the index are built for CUDA.

    Beside a torch for the CPU alone their library does not load, and torchvision fails where it
    describes them; timm and transformers import it wherever it is installed.
    """
    if importlib.util.find_spec("torchvision") is None or torch.version.cuda is not None:
        return
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", _SUPPRESSION)
