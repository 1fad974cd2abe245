"""Providers of the operator level: the kernels alone, no module and no autograd around them.

Forward takes the statistics of the batch and returns them; no running statistics are updated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from batchnorm import kernels
from batchnorm.bench._cases import Case
from batchnorm.bench._providers import _onednn
from batchnorm.bench._providers._subjects import Inputs
from batchnorm.bench._timing import Timed

EPS, MOMENTUM = 1e-5, 0.1


@dataclass(frozen=True)
class Operator:
    """Three operators on one set of tensors.

    Args:
        forward: normalizes with the statistics of the batch.
        backward: returns the three gradients.
        inference: normalizes with population statistics.
    """

    forward: Callable[[], object]
    backward: Callable[[], object]
    inference: Callable[[], object]

    def job(self, direction: str) -> Timed:
        """Return what is timed for a direction."""
        if direction == "forward-backward":

            def both() -> object:
                self.forward()
                return self.backward()

            return both
        found: Timed = getattr(self, direction)
        return found


def _population(channels: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(channels), torch.ones(channels)


def fused(case: Case, inputs: Inputs, training: bool) -> Operator:  # noqa: ARG001
    """Return our kernels."""
    backend = kernels.current(inputs.x.device)
    x, weight, bias = inputs.x, inputs.weight, inputs.bias
    mean, var = (t.double() for t in _population(case.shape[1]))
    train = kernels.Call(x, weight, bias, eps=EPS)
    evaluate = train._replace(mean=mean, var=var)
    statistics = backend.forward(train).statistics
    differentiate = kernels.GradientCall(
        inputs.dy, x, weight, bias, None, statistics, None, EPS, batch_statistics=True
    )
    return Operator(
        lambda: backend.forward(train),
        lambda: backend.backward(differentiate),
        lambda: backend.forward(evaluate),
    )


def native(case: Case, inputs: Inputs, training: bool) -> Operator:  # noqa: ARG001
    """Return torch's operators."""
    x, weight, bias = inputs.x, inputs.weight, inputs.bias
    mean, var = _population(case.shape[1])

    def batch() -> tuple[Tensor, Tensor, Tensor]:
        return torch.native_batch_norm(x, weight, bias, None, None, True, MOMENTUM, EPS)

    _, save_mean, save_invstd = batch()
    backward = torch.ops.aten.native_batch_norm_backward.default
    saved = (x, weight, mean, var, save_mean, save_invstd, True, EPS, [True] * 3)
    return Operator(
        batch,
        lambda: backward(inputs.dy, *saved),
        lambda: torch.native_batch_norm(x, weight, bias, mean, var, False, MOMENTUM, EPS),
    )


def blocked(case: Case, inputs: Inputs, training: bool) -> Operator:
    """Return torch's operators on tensors in oneDNN's own layout, converted beforehand."""
    return native(case, _onednn.converted(inputs), training)
