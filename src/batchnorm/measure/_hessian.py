"""Hessian of a loss by a model's parameters: a symmetric matrix of which only products are made."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Module, Parameter

from batchnorm._model._borrow import Loan
from batchnorm._model._call import tensors
from batchnorm.errors import DataError, MeasurementError, OptionError
from batchnorm.measure._layers import check_names
from batchnorm.measure._objective import Values, check_finite, trainable
from batchnorm.measure._vectors import norm

Units = Literal["model", "filter", "element"]


class Hessian:
    """The second derivatives of a loss that is a mean over batches.

    Args:
        loan: of the model.
        compute: takes a batch to its loss.
        parameters: by name; those to differentiate by.
        batches: the data; every one counts by its number of examples.
        relative_to: what the parameters are measured in; `None` in their own units.

    Attributes:
        loss: the mean, once a product has been made.
        size: number of rows.
        device: of its vectors, which are float64.
    """

    def __init__(
        self,
        loan: Loan,
        compute: Callable[[Any], Tensor],
        parameters: dict[str, Parameter],
        batches: list[Any],
        relative_to: Units | None = None,
    ) -> None:
        _check_real(parameters)
        self._loan = loan
        self._compute = compute
        self._parameters = parameters
        self._batches = batches
        self._shares = _shares(batches)
        self._units = None if relative_to is None else _units(parameters, relative_to)
        self.loss = 0.0
        self.size = sum(p.numel() for p in parameters.values())
        self.device = next(iter(parameters.values())).device

    @property
    def rounding(self) -> float:
        """The relative rounding of the coarsest parameter."""
        return max(torch.finfo(p.dtype).eps for p in self._parameters.values())

    def multiply(self, vectors: Tensor) -> Tensor:
        """Return the products with vectors, both ``(b, n)``.

        Every batch finds the buffers as they were lent, and draws the same random numbers in every
        product, so that all products are of one matrix.

        Raises:
            NonFiniteError: the loss or a gradient is NaN or infinite.
            MeasurementError: there is no second derivative, or it is not finite.
        """
        if self._units is not None:
            vectors = vectors * self._units
        found, has_graph = torch.zeros_like(vectors), False
        self.loss = 0.0
        self._loan.rewind()
        for batch, share in zip(self._batches, self._shares, strict=True):
            loss, gradients = self._gradients(batch)
            self.loss += share * loss
            has_graph |= any(g.requires_grad for g in gradients.values())
            found.add_(self._through(gradients, vectors), alpha=share)
        _check_second(found, has_graph=has_graph)
        return found if self._units is None else found * self._units

    def _gradients(self, batch: Any) -> tuple[float, Values]:
        """Return the loss, and the gradients that it has, which can be differentiated."""
        self._loan.restore()
        torch.clear_autocast_cache()  # which may hold casts of a graph that is gone
        loss = self._compute(batch)
        _check_backwards(loss)
        wanted = list(self._parameters.values())
        found = torch.autograd.grad(loss, wanted, create_graph=True, allow_unused=True)
        gradients = {
            name: _dense(gradient)
            for name, gradient in zip(self._parameters, found, strict=True)
            if gradient is not None
        }
        check_finite(loss.item(), gradients)
        return loss.item(), gradients

    def _through(self, gradients: Values, vectors: Tensor) -> Tensor:
        """Return the derivatives of the gradients along vectors."""
        inputs = list(self._parameters.values())
        outputs = {name: g for name, g in gradients.items() if g.requires_grad}
        if not outputs:
            return torch.zeros_like(vectors)
        rows = []
        for place, vector in enumerate(vectors, start=1):
            parts = self.split(vector)
            with _second_derivative():
                found = torch.autograd.grad(
                    list(outputs.values()),
                    inputs,
                    [parts[name].to(g.dtype) for name, g in outputs.items()],
                    retain_graph=place < len(vectors),
                    allow_unused=True,
                )
            rows.append(self._joined(found))
        return torch.stack(rows)

    def split(self, vector: Tensor) -> Values:
        """Return the parts of a vector by parameter, in their shapes and on their devices."""
        parameters = self._parameters
        parts = torch.split(vector, [p.numel() for p in parameters.values()])
        return {
            name: part.view(p.shape).to(p.device)
            for (name, p), part in zip(parameters.items(), parts, strict=True)
        }

    def _joined(self, found: Iterable[Tensor | None]) -> Tensor:
        parts = [
            torch.zeros_like(p) if part is None else _dense(part)
            for p, part in zip(self._parameters.values(), found, strict=True)
        ]
        return _flat(parts, self.device)


def chosen_parameters(model: Module, names: Iterable[str] | None) -> dict[str, Parameter]:
    """Return the parameters that require a gradient and that names choose, a shared one once.

    Args:
        model: what has them.
        names: of parameters, or of modules, for all of theirs; `None` chooses all.

    Raises:
        OptionError: a name is neither, or nothing that requires a gradient has it.
        MeasurementError: no parameter requires a gradient.
    """
    found = trainable(model)
    places = [
        (list(_prefixes(name)), id(p))
        for name, p in model.named_parameters(remove_duplicate=False)
        if p.requires_grad
    ]
    known = dict.fromkeys(prefix for prefixes, _ in places for prefix in prefixes)
    wanted = set(check_names(names, known, "parameters that require a gradient, or their modules"))
    if not wanted:
        raise OptionError("names must choose a parameter, got an empty list: leave it out for all")
    keys = {key for prefixes, key in places if wanted.intersection(prefixes)}
    return {name: p for name, p in found.items() if id(p) in keys}


def _prefixes(name: str) -> Iterator[str]:
    """Yield the names of the modules around a parameter, and its own."""
    yield ""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])


def check_units(relative_to: str | None) -> None:
    """Refuse what parameters cannot be measured in.

    Raises:
        OptionError: it is unknown.
    """
    if relative_to not in {None, *get_args(Units)}:
        raise OptionError(
            f"relative_to must be None, {', '.join(map(repr, get_args(Units)))}, got "
            f"{relative_to!r}: take 'filter' where weights come before a batch normalization"
        )


@torch.no_grad()
def _units(parameters: dict[str, Parameter], relative_to: Units) -> Tensor:
    """Return the unit of every value, ``(n,)``."""
    values = [p.detach().double() for p in parameters.values()]
    device = values[0].device
    match relative_to:
        case "model":
            flat = _flat(values, device)
            return torch.full_like(flat, norm([flat]))
        case "filter":
            units = [_of_filters(value).expand_as(value) for value in values]
            return _flat(units, device)
    return _flat(values, device).abs()


def _of_filters(value: Tensor) -> Tensor:
    """Return the norm at each place of the first dimension, of as many dimensions."""
    if value.ndim <= 1:
        return value.abs()
    inside = tuple(range(1, value.ndim))
    found: Tensor = torch.linalg.vector_norm(value, dim=inside, keepdim=True)
    return found


def _flat(parts: list[Tensor], device: torch.device) -> Tensor:
    return torch.cat([part.detach().to(device, torch.float64).flatten() for part in parts])


def _dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def _shares(batches: list[Any]) -> list[float]:
    """Return the share of all examples that each batch has."""
    if len(batches) == 1:
        return [1.0]
    counts = [_examples(batch, place) for place, batch in enumerate(batches)]
    return [count / sum(counts) for count in counts]


def _examples(batch: Any, place: int) -> int:
    first = next(tensors(batch), None)
    if first is None or not first.ndim or not len(first):
        found = f"a first one of shape {tuple(first.shape)}" if first is not None else "no tensor"
        raise DataError(
            "batches whose first tensor has a row for each example are needed, to weigh them, got "
            f"{found} in the {type(batch).__name__} at place {place}: leave it out, or give all "
            "examples as one batch"
        )
    return len(first)


def _check_real(parameters: dict[str, Parameter]) -> None:
    if complex_ := [name for name, p in parameters.items() if p.is_complex()]:
        raise MeasurementError(
            f"real parameters are needed, got {len(complex_)} complex ones {complex_[:3]}: "
            "choose others by names, or keep torch.view_as_real of them as the parameters"
        )


def _check_backwards(loss: Tensor) -> None:
    """Refuse backward passes that a second one takes for constants, at times without a word."""
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
        function = getattr(node, "_forward_cls", None)  # of those written in Python
        if function is not None and _is_once_differentiable(function.backward):
            raise MeasurementError(
                "a loss that can be differentiated twice is needed, got the once_differentiable "
                f"{function.__name__} in it: take plain operations in its place"
            )


def _is_once_differentiable(backward: Callable[..., Any]) -> bool:
    """Return whether torch's decorator of that name is around it."""
    code = getattr(backward, "__code__", None)
    return code is not None and code.co_filename == once_differentiable.__code__.co_filename


@contextmanager
def _second_derivative() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise MeasurementError(
            "a loss that can be differentiated twice is needed, got one that cannot "
            f"({str(error).splitlines()[0]}): take plain operations in its place; for attention, "
            "the context torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)"
        ) from error


def _check_second(found: Tensor, *, has_graph: bool) -> None:
    if not has_graph:
        raise MeasurementError(
            "a loss with a second derivative is needed, got one whose gradient does not depend on "
            "the parameters: it is linear in them, or a backward pass of its own cannot be "
            "differentiated; choose others by names, or take plain operations in its place"
        )
    if not torch.isfinite(found).all():
        raise MeasurementError(
            "a loss with a finite second derivative is needed, got NaN or Inf in its product with "
            "a vector, though the gradient is finite: look for a square root or a norm at 0, and "
            "add a small number inside"
        )
