"""Lend a model to a measurement, parameters and gradients included."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.parameter import is_lazy

from batchnorm._borrow import Loan, borrowed
from batchnorm.errors import MeasurementError


@contextmanager
def lent(model: Module, *, training: bool | None) -> Iterator[Loan]:
    """Lend `model`, and give it back as it was, also after an exception.

    Beside what `borrowed` gives back: the values of all parameters, whether they require a
    gradient, their gradients as the same objects (they have none meanwhile), and tensors that a
    forward leaves on its module.

    Args:
        model: any model whose lazy modules are initialized.
        training: the mode of all modules meanwhile; `None` leaves each its own.

    Raises:
        MeasurementError: a lazy module is uninitialized.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1)
        >>> before = model.weight.item()
        >>> with lent(model, training=None):
        ...     _ = model.weight.data.fill_(7.0)
        >>> model.weight.item() == before
        True
    """
    _check_initialized(model)
    with borrowed(model, training=training) as loan, ExitStack() as stack:
        stack.callback(torch.clear_autocast_cache)  # which keeps casts of the moved parameters
        for parameter in model.parameters():
            stack.callback(_Parameter(parameter).restore)
        for module in model.modules():
            stack.callback(_Attributes(module).restore)
        yield loan


class _Parameter:
    """What has to be given back of a parameter, whose gradient is set aside."""

    def __init__(self, parameter: Tensor) -> None:
        self._parameter = parameter
        self._value = parameter.detach().clone()
        self._requires_grad = parameter.requires_grad
        self._gradient, parameter.grad = parameter.grad, None

    def restore(self) -> None:
        # Through `data`, which autograd does not watch: a backward pass that waits goes on.
        self._parameter.data.copy_(self._value)
        self._parameter.requires_grad_(self._requires_grad)
        self._parameter.grad = self._gradient


class _Attributes:
    """Tensors in plain attributes, such as the weight that `weight_norm` computes."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._tensors = {n: v for n, v in vars(module).items() if isinstance(v, Tensor)}

    def restore(self) -> None:
        vars(self._module).update(self._tensors)


def _check_initialized(model: Module) -> None:
    for name, module in model.named_modules():
        tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if any(is_lazy(tensor) for tensor in tensors):
            raise MeasurementError(
                f"an initialized model is needed, got the lazy {type(module).__name__} {name!r}: "
                "pass one batch through the model first"
            )
