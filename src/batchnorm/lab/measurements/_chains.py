"""Gradient step in a chain of linear maps: what it promises and what it does."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from batchnorm.lab.design import Trial
from batchnorm.lab.networks import deep_linear
from batchnorm.lab.tasks import Task

_DECADES, _PER_DECADE = 6, 10


def step_in_chain(trial: Trial, task: Task, generator: torch.Generator) -> Mapping[str, object]:
    """Take one step of gradient descent in a chain on drawn data, and steps of other sizes.

    Settings: ``depth``, ``width``, ``gain`` of a map, ``samples``, ``rate``. The arm ``bn`` has
    batch normalization after every map but the last.

    Returns:
        ``error``: how far the fall of the loss is from what the gradient promised, relative to
        that; ``safe_rate``: the largest rate up to which every step lowers the loss; ``terms``:
        how large the changes of order 1, 2, ... are beside the first, `None` with
        normalization, where the step is no polynomial.
    """
    width, samples = int(trial["width"]), int(trial["samples"])
    x, targets = (
        torch.randn(samples, width, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    chain = replace(task, train_x=x, outputs=width)
    settings = {**trial.settings, "scale": trial["gain"] / math.sqrt(width)}
    norm = "batch" if trial.arm == "bn" else None
    model = deep_linear(chain, settings, generator, norm=norm).to(x)
    weights = {f"{i}.weight": m.weight for i, m in enumerate(model) if isinstance(m, nn.Linear)}
    start = F.mse_loss(model(x), targets)
    gradients = torch.autograd.grad(start, [*weights.values()])
    promised = sum(g.square().sum().item() for g in gradients)

    @torch.no_grad()
    def lowered(rate: float) -> float:
        """Return by how much a step of this rate lowers the loss."""
        moved = {k: w - rate * g for (k, w), g in zip(weights.items(), gradients, strict=True)}
        loss = F.mse_loss(torch.func.functional_call(model, moved, (x,)), targets)
        return (start - loss).item()

    rate, whole = trial["rate"], start.item() / promised
    tried = [whole * 10 ** (k / _PER_DECADE - _DECADES) for k in range(2 * _DECADES * _PER_DECADE)]
    worse = next((i for i, size in enumerate(tried) if not lowered(size) >= 0), len(tried))
    return {
        "error": abs(lowered(rate) / (rate * promised) - 1),
        "safe_rate": tried[max(worse - 1, 0)],
        "terms": None if norm else _terms([*weights.values()], gradients, rate, x),
    }


@torch.no_grad()
def _terms(
    weights: Sequence[Tensor], gradients: Sequence[Tensor], rate: float, x: Tensor
) -> list[float]:
    """Return how large the change of order 1, 2, ... in the rate is, beside that of order 1."""
    powers = [x]
    for weight, gradient in zip(weights, gradients, strict=True):
        kept = [part @ weight.T for part in powers] + [torch.zeros_like(powers[0] @ weight.T)]
        for order, part in enumerate(powers):
            kept[order + 1] = kept[order + 1] - rate * (part @ gradient.T)
        powers = kept
    first = powers[1].norm().item()
    return [power.norm().item() / first for power in powers[1:]]
