"""What a model does, as numbers: outputs, gradients and running statistics in both modes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from batchnorm._arguments import arguments, mapped, tensors
from batchnorm.errors import SurgeryError

from ._copy import twin

# Largest relative error between two ways of computing the same, by the precision of the outputs.
# The rounding of one layer grows through the layers behind it, in training above all.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
_REDUCED = 5e-2


@dataclass(frozen=True)
class Behaviour:
    """What one forward and backward pass gives.

    Attributes:
        outputs: the model's.
        gradients: of the parameters that have one, for a fixed gradient of the outputs.
        buffers: after the pass.
    """

    outputs: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    buffers: tuple[Tensor, ...]

    def error(self, expected: "Behaviour") -> float:
        """Return the largest relative error, in the 2-norm.

        A gradient is measured against all of them: that of a bias before a batch normalization is
        zero but for rounding.
        """
        errors = [self.output_error(expected)]
        errors += (_relative(*pair) for pair in _pairs(self.buffers, expected.buffers))
        if whole := _norm(expected.gradients):
            pairs = _pairs(self.gradients, expected.gradients)
            errors += (_norm([_difference(*pair)]) / whole for pair in pairs)
        return max(errors)

    def output_error(self, expected: "Behaviour") -> float:
        """Return the largest relative error of the outputs, in the 2-norm."""
        pairs = _pairs(self.outputs, expected.outputs)
        return max((_relative(*pair) for pair in pairs), default=0.0)

    @property
    def tolerance(self) -> float:
        """The largest relative error that rounding explains."""
        return max((_TOLERANCE.get(y.dtype, _REDUCED) for y in self.outputs), default=0.0)


def behaviour(model: nn.Module, example_inputs: Any, *, training: bool) -> Behaviour:
    """Run a copy of the model forward and backward, and return what it gave.

    Args:
        model: any module; not touched.
        example_inputs: as for `trace`.
        training: in which mode.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> len(behaviour(model, torch.ones(1, 1), training=True).gradients)
        2
    """
    model = twin(model, training=training)
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.enable_grad():
        outputs = tuple(y for y in run(model, example_inputs) if y.is_floating_point())
        loss = sum((_weights(y) * y.double()).sum() for y in outputs if y.requires_grad)
        gradients: Iterable[Tensor | None] = ()
        if isinstance(loss, Tensor) and parameters:
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return Behaviour(
        tuple(y.detach() for y in outputs),
        tuple(g for g in gradients if g is not None),
        tuple(b.detach() for b in model.buffers() if b.is_floating_point()),
    )


def run(model: nn.Module, example_inputs: Any) -> tuple[Tensor, ...]:
    """Call a model, each time with the same random numbers, and return its tensors."""
    args, kwargs = mapped(arguments(example_inputs), _own)
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call] # torch has no types here
    devices = range(torch.cuda.device_count()) if started else ()
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        return tuple(tensors(model(*args, **kwargs)))


def check_error(error: float, allowed: float, *, training: bool) -> float:
    """Return the error.

    Raises:
        SurgeryError: it is larger than allowed.
    """
    if not error <= allowed:  # so that NaN is refused too
        raise SurgeryError(
            f"the changed model needs to give what it gave before, within {allowed:g}, got a "
            f"relative error of {error:.2g} in {'training' if training else 'evaluation'}: "
            "it is as it was before"
        )
    return error


def _own(x: Tensor) -> Tensor:
    return x.detach().clone()  # a forward may change its input


def _weights(y: Tensor) -> Tensor:
    """Return a gradient for an output: fixed, and different for every value."""
    return torch.linspace(0.5, 1.5, y.numel(), dtype=torch.float64, device=y.device).view(y.shape)


def _pairs(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> Iterable[tuple[Any, Any]]:
    return zip(found, expected, strict=True)


def _relative(found: Tensor, expected: Tensor) -> float:
    size = _norm([expected.where(expected.isfinite(), 0.0)])
    return _norm([_difference(found, expected)]) / (size or 1.0)


def _difference(found: Tensor, expected: Tensor) -> Tensor:
    """Return it, which is nothing where both are the same infinity or both are not a number."""
    same = (found == expected) | (found.isnan() & expected.isnan())
    return torch.where(same, 0.0, found.double() - expected.double())


def _norm(values: Iterable[Tensor]) -> float:
    return math.hypot(*(float(v.double().norm()) for v in values))
