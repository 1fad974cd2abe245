"""Objective: the loss of a model on one batch, as a function of the model's parameters."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from batchnorm._model._borrow import Loan, borrowed
from batchnorm._model._call import Forward, feeder
from batchnorm._model._find import check_initialized, unwrapped
from batchnorm.errors import DataError, MeasurementError, NonFiniteError
from batchnorm.measure._layers import Calls, first_calls

Loss = Callable[[Any, Any], Tensor]
Values = dict[str, Tensor]


class Evaluation(NamedTuple):
    """The loss and its gradient at some point.

    Attributes:
        loss: its value.
        gradient: by name of the parameter.
        unused: parameters that the loss does not depend on; their gradient is 0.
    """

    loss: float
    gradient: Values
    unused: frozenset[str]


@contextmanager
def objective(
    model: Module,
    batch: Any,
    loss: Loss | None,
    *,
    forward: Forward | None,
    training: bool | None,
) -> Iterator["Objective"]:
    """Lend the loss of `model` on `batch`; in the end the model is as it was.

    Args:
        model: what has the parameters, without its wrappers.
        batch: what `forward` takes; where there is a `loss`, a pair of input and target.
        loss: of output and target; `None` where `forward` returns the loss.
        forward: calls the model it is given on a batch; `None` passes on the input.
        training: the mode of all modules meanwhile; `None` leaves each its own.

    Raises:
        MeasurementError: no parameter requires a gradient, or a lazy module is uninitialized.
        DataError: there is a `loss`, and `batch` is no pair.
    """
    model = unwrapped(model)
    compute = loss_of(model, loss, forward)
    if loss is not None:
        check_pair(batch)
    with lent(model, training=training) as loan:
        yield Objective(model, loan, lambda: compute(batch))


@contextmanager
def lent(model: Module, *, training: bool | None) -> Iterator[Loan]:
    """Lend a model to be differentiated; in the end it is as it was.

    Args:
        model: what has the parameters, without its wrappers.
        training: as for `objective`.

    Raises:
        MeasurementError: a lazy module is uninitialized.
    """
    check_initialized(model, MeasurementError)
    with (
        borrowed(model, training=training, parameters=True) as loan,
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        yield loan


def loss_of(model: Module, loss: Loss | None, forward: Forward | None) -> Callable[[Any], Tensor]:
    """Return what computes the loss on a batch, and refuses what is none.

    Args:
        model: as for `objective`.
        loss: as for `objective`; then batches are pairs.
        forward: as for `objective`.
    """
    call = feeder(model, forward)
    if loss is None:
        return lambda batch: _checked(call(batch))
    return lambda pair: _checked(loss(call(pair), pair[1]))


def trainable(model: Module) -> dict[str, Parameter]:
    """Return the parameters that require a gradient by name, a shared one once.

    Raises:
        MeasurementError: there is none.
    """
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise MeasurementError(
            "a model with parameters that require a gradient is needed, got "
            f"{sum(1 for _ in model.parameters())} parameters that do not: "
            "let some of them require one"
        )
    return found


class Objective:
    """The loss as a function of the parameters that require a gradient.

    Args:
        model: what has them.
        loan: of the model.
        compute: returns the loss.

    Attributes:
        parameters: by name, a shared one once.
        start: their values when lent.
    """

    def __init__(self, model: Module, loan: Loan, compute: Callable[[], Tensor]) -> None:
        self.parameters = trainable(model)
        self.start: Values = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._model = model
        self._loan = loan
        self._compute = compute

    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Set some of the parameters."""
        for name, value in values.items():
            self.parameters[name].data.copy_(value)
        torch.clear_autocast_cache()  # which does not notice that they have changed

    def evaluate(self, names: Iterable[str] | None = None) -> Evaluation:
        """Return the loss and its gradient where the parameters are now.

        Every time with the same buffers and random numbers, so that dropout drops the same.

        Args:
            names: of the parameters to differentiate by; `None` takes all.
        """
        names = list(self.parameters) if names is None else list(names)
        self._loan.restore()
        self._loan.rewind()
        loss = self._compute()
        wanted = [self.parameters[name] for name in names]
        found = torch.autograd.grad(loss, wanted, allow_unused=True)
        gradients = dict(zip(names, found, strict=True))
        return Evaluation(
            loss.item(),
            {name: self._dense(name, gradient) for name, gradient in gradients.items()},
            frozenset(name for name, gradient in gradients.items() if gradient is None),
        )

    def _dense(self, name: str, gradient: Tensor | None) -> Tensor:
        if gradient is None:
            return torch.zeros_like(self.start[name])
        return gradient.to_dense() if gradient.is_sparse else gradient

    def first(self) -> tuple[Evaluation, Calls]:
        """Return loss and gradient of the model as it is lent, and the order of its modules' calls.

        Raises:
            NonFiniteError: the loss or a gradient is NaN or infinite.
        """
        with first_calls(self._loan, self._model) as calls:
            found = self.evaluate()
        check_finite(found.loss, found.gradient)
        return found, calls


def check_finite(loss: float, gradient: Mapping[str, Tensor]) -> None:
    """Refuse to measure where training has diverged.

    Raises:
        NonFiniteError: the loss or a gradient is NaN or infinite.
    """
    bad = [name for name, g in gradient.items() if not torch.isfinite(g).all()]
    if bad or not math.isfinite(loss):
        raise NonFiniteError(
            "a finite loss with a finite gradient is needed to measure from, got "
            f"{loss:.3g} and NaN or Inf in the gradients of {len(bad)} parameters "
            f"{bad[:3]}: measure before the training diverges, or look for the cause"
        )


def check_pair(batch: Any) -> None:
    """Refuse a batch that is no pair of input and target.

    Raises:
        DataError: it is none.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:  # noqa: PLR2004 -- a pair
        length = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
        raise DataError(
            "with a loss the batch must be a pair of input and target, got a "
            f"{type(batch).__name__}{length}: give a pair, or leave the loss out and return it "
            "from forward="
        )


def _checked(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise MeasurementError(
            f"a loss of one number is needed, got {found}: give a loss of output and target that "
            "returns it, or a forward= that does"
        )
    if not loss.requires_grad:
        raise MeasurementError(
            "a loss that depends on the parameters is needed, got one without gradient: "
            "do not detach it, and let forward= call the model that it is given"
        )
    return loss
