"""Scale invariance: a layer and its gradients when its weights are multiplied by a factor."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from batchnorm.lab.design import Trial
from batchnorm.lab.tasks import Task
from batchnorm.nn import BatchNorm1d, BatchNorm2d

_SHAPES = {
    "linear": ((20, 30), (64, 30), (64, 20)),
    "convolution": ((8, 5, 3, 3), (16, 5, 9, 9), (16, 8, 9, 9)),
}


def compare_scales(trial: Trial, task: Task, generator: torch.Generator) -> Mapping[str, float]:
    """Compare a normalized layer of weights W with the same of weights aW, in float64.

    Settings: ``factor``, the a; ``eps``. Arms: ``linear``, ``convolution``.

    Returns:
        ``output`` and ``input_gradient``: how far they are from those of W, relative to the
        largest; ``weight_gradient``: the same for a times the gradient; ``radial``: the cosine
        between the gradient of W and W.
    """
    shapes = _SHAPES[trial.arm]
    weights, inputs, towards = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(task.train_x.device)
        for shape in shapes
    )
    factor, eps = trial["factor"], trial["eps"]
    first, scaled = (_layer(weights * a, inputs, towards, eps) for a in (1.0, factor))
    return {
        "output": _deviation(scaled[0], first[0]),
        "input_gradient": _deviation(scaled[1], first[1]),
        "weight_gradient": _deviation(scaled[2] * factor, first[2]),
        "radial": (first[2] * weights).sum().abs().item()
        / (first[2].norm() * weights.norm()).item(),
    }


def _layer(weights: Tensor, inputs: Tensor, towards: Tensor, eps: float) -> tuple[Tensor, ...]:
    """Return the normalized output, and the gradients of the inputs and of the weights."""
    w, u = weights.detach().requires_grad_(), inputs.detach().requires_grad_()
    if w.ndim == 2:  # noqa: PLR2004  (a matrix)
        y = BatchNorm1d(len(w), eps=eps, dtype=w.dtype, device=w.device)(F.linear(u, w))
    else:
        y = BatchNorm2d(len(w), eps=eps, dtype=w.dtype, device=w.device)(F.conv2d(u, w, padding=1))
    return (y.detach(), *torch.autograd.grad((y * towards).sum(), (u, w)))


def _deviation(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()
