"""Behaviour of a model in one pass, as numbers: outputs, gradients and running statistics."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from batchnorm._model._borrow import borrowed
from batchnorm._model._call import changed, run
from batchnorm._model._copy import twin


class Statistics(NamedTuple):
    """Running statistics of one layer, and what it adds to the variance."""

    mean: Tensor
    var: Tensor
    eps: float


class Error(NamedTuple):
    """A relative error.

    Attributes:
        part: what differs, such as ``an output``.
        size: how much, relative to what is expected.
        dtype: in which it was computed.
    """

    part: str
    size: float
    dtype: torch.dtype


@dataclass(frozen=True)
class Behaviour:
    """What one forward and backward pass gives.

    Attributes:
        outputs: the model's.
        gradients: of the parameters that have one, for a fixed gradient of the outputs.
        buffers: after the pass, without the running statistics.
        statistics: the running statistics after the pass.
    """

    outputs: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...] = ()
    buffers: tuple[Tensor, ...] = ()
    statistics: tuple[Statistics, ...] = ()

    def errors(self, expected: "Behaviour") -> list[Error]:
        """Return the relative error of every output, and the largest one of every other part.

        A gradient is measured against all of them, because that of a bias before a batch
        normalization is zero but for rounding; and running statistics against the standard
        deviation beside them, because the mean of normalized values is zero but for rounding.
        """
        found = [
            Error("an output", relative_error(y, truth), y.dtype)
            for y, truth in zip(self.outputs, expected.outputs, strict=True)
        ]
        size = largest(_size(gradient) for gradient in expected.gradients)
        others = {
            "a gradient": [
                _difference(*pair) / (size or 1.0)
                for pair in zip(self.gradients, expected.gradients, strict=True)
            ],
            "a buffer": [
                relative_error(*pair) for pair in zip(self.buffers, expected.buffers, strict=True)
            ],
            "a running statistic": [
                _error_of_statistics(*pair)
                for pair in zip(self.statistics, expected.statistics, strict=True)
            ],
        }
        return found + [
            Error(part, largest(sizes), self._dtype) for part, sizes in others.items() if sizes
        ]

    def error(self, expected: "Behaviour") -> float:
        """Return the largest relative error."""
        return largest(error.size for error in self.errors(expected))

    @property
    def _dtype(self) -> torch.dtype:
        """The least precise dtype of the outputs."""
        dtypes = (y.dtype for y in self.outputs)
        return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps, default=torch.float64)


class Pass(NamedTuple):
    """A pass of a model to look at.

    Attributes:
        example_inputs: as for `trace`.
        training: the mode, as for `twin`; `None` is evaluation of every module.
        outputs_only: leave out gradients and buffers.
    """

    example_inputs: Any
    training: bool | None
    outputs_only: bool = False

    def of(self, model: nn.Module) -> Behaviour:
        """Return the behaviour of a model, which is not touched."""
        if self.training is None:
            with borrowed(model), torch.no_grad():
                return Behaviour(tuple(y.clone() for y in _floating(model, self.example_inputs)))
        if self.outputs_only:
            with torch.no_grad():
                other = twin(model, training=self.training)
                return Behaviour(_floating(other, self.example_inputs))
        return behaviour(model, self.example_inputs, training=self.training)

    def in_double(self) -> "Pass":
        """Return the same pass with inputs in float64."""
        return self._replace(example_inputs=in_double(self.example_inputs))


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
        outputs = _floating(model, example_inputs)
        loss = sum((_weights(y) * y.double()).sum() for y in outputs if y.requires_grad)
        gradients: Iterable[Tensor | None] = ()
        if isinstance(loss, Tensor) and parameters:
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    statistics = [
        Statistics(mean, var, getattr(module, "eps", 0.0))
        for module in model.modules()
        if isinstance(mean := getattr(module, "running_mean", None), Tensor)
        and isinstance(var := getattr(module, "running_var", None), Tensor)
    ]
    known = {id(tensor) for mean, var, _ in statistics for tensor in (mean, var)}
    return Behaviour(
        tuple(y.detach() for y in outputs),
        tuple(g for g in gradients if g is not None),
        tuple(b for b in model.buffers() if b.is_floating_point() and id(b) not in known),
        tuple(statistics),
    )


def in_double(example_inputs: Any) -> Any:
    """Return inputs with their floating tensors in float64."""
    return changed(example_inputs, lambda x: x.double() if x.is_floating_point() else x)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference over the largest expected value, both finite.

    Where both are the same infinity or both are not a number, there is no difference.

    Example:
        >>> relative_error(torch.tensor([1.0, 4.1]), torch.tensor([1.0, 4.0])) < 0.026
        True
    """
    return _difference(found, expected) / (_size(expected) or 1.0)


def largest(errors: Iterable[float]) -> float:
    """Return the largest; NaN if one of them is, and 0 if there is none."""
    errors = list(errors)
    return math.nan if any(map(math.isnan, errors)) else max(errors, default=0.0)


def _error_of_statistics(found: Statistics, expected: Statistics) -> float:
    """Return the largest error of a channel, in units of its standard deviation or variance."""
    var = expected.var.detach().double() + expected.eps
    usable = var.isfinite() & (var > 0)
    std = torch.where(usable, var, 1.0).sqrt() * torch.where(
        usable, 1.0, _size(expected.mean) or 1.0
    )
    return largest(
        [
            _difference(found.mean / std, expected.mean / std),
            _difference(found.var / std.square(), expected.var / std.square()),
        ]
    )


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest one; none where both are the same infinity or both are not a number."""
    if torch.equal(found, expected):  # as after most changes, and much faster
        return 0.0
    found, expected = found.detach().double(), expected.detach().double()
    same = (found == expected) | (found.isnan() & expected.isnan())
    return torch.where(same, 0.0, (found - expected).abs()).max().item() if same.numel() else 0.0


def _size(values: Tensor) -> float:
    """Return the largest finite value."""
    if not values.numel():
        return 0.0
    largest_of_all = values.detach().abs().max().item()
    if math.isfinite(largest_of_all):
        return largest_of_all
    return values.detach().abs().nan_to_num(0.0, 0.0).max().item()


def _floating(model: nn.Module, example_inputs: Any) -> tuple[Tensor, ...]:
    return tuple(y for y in run(model, example_inputs) if y.is_floating_point())


def _weights(y: Tensor) -> Tensor:
    """Return a gradient for an output: fixed, and different for every value."""
    return torch.linspace(0.5, 1.5, y.numel(), dtype=torch.float64, device=y.device).view(y.shape)
