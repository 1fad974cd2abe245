"""Training of a layer with the normalization inside the gradient, and outside of it."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from batchnorm.lab.design import Trial
from batchnorm.lab.tasks import Task

POINTS = 20
_UNITS, _SCALE, _EPS = 100, 0.1, 1e-5


def train_layer(trial: Trial, task: Task, generator: torch.Generator) -> Mapping[str, list[float]]:
    """Train one hidden layer, its normalization inside the gradient or outside of it.

    Settings: ``everything`` to train all parameters and not b alone; ``scaled`` to scale and not
    only to centre; ``rate``; ``steps``; ``examples``, all of them in each step. The arm
    ``outside`` takes the statistics for constants when it differentiates.

    Returns:
        ``bias`` and ``loss``: the norm of b and the loss at `POINTS` + 1 steps evenly apart.
    """
    steps, count = int(trial["steps"]), int(trial["examples"])
    x, y = task.train_x[:count].double(), task.train_y[:count]
    first, second = (
        (_SCALE * torch.randn(shape, generator=generator, dtype=x.dtype)).to(x.device)
        for shape in ((_UNITS, task.features), (task.outputs, _UNITS))
    )
    bias = torch.zeros(_UNITS, dtype=x.dtype, device=x.device)
    trained = [bias, first, second] if trial["everything"] else [bias]
    for parameter in trained:
        parameter.requires_grad_()
    record: dict[str, list[float]] = {key: [] for key in ("bias", "loss")}
    for step in range(steps + 1):
        hidden = _normalized(x @ first.T + bias, trial)
        loss = F.cross_entropy(torch.sigmoid(hidden) @ second.T, y)
        if step % (steps // POINTS) == 0:
            record["bias"].append(bias.norm().item())
            record["loss"].append(loss.item())
        gradients = torch.autograd.grad(loss, trained)
        with torch.no_grad():
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter.sub_(gradient, alpha=trial["rate"])
    return record


def _normalized(u: Tensor, trial: Trial) -> Tensor:
    """Return u centred, scaled if the trial asks for it; outside, statistics are constants."""
    var, mean = torch.var_mean(u, 0, correction=0)
    if trial.arm == "outside":
        var, mean = var.detach(), mean.detach()
    return (u - mean) / (var + _EPS).sqrt() if trial["scaled"] else u - mean
