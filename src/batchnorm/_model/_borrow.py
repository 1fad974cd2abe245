"""Loan of a model: whatever happens inside, the owner gets back what was lent."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.hooks import RemovableHandle


@contextmanager
def borrowed(
    model: Module, *, training: bool | None = False, parameters: bool = False
) -> Iterator["Loan"]:
    """Lend `model` in evaluation mode, and give it back as it was, also after an exception.

    What comes back, bit for bit and as the same objects: the mode of every module, every buffer,
    what stands in the plain attributes of a module (a tensor with its values; a list or a dict
    that a forward appends to keeps what it got), and the state of torch's random number
    generators. Hooks put on with `Loan.hook` are gone. Compiled parts run uncompiled meanwhile,
    because they would pass over the hooks.

    Args:
        model: any model whose lazy modules are initialized.
        training: the mode of all modules meanwhile; `None` leaves each its own.
        parameters: give back also the values of all parameters, whether they require a gradient,
            and their gradients as the same objects (they have none meanwhile).

    Example:
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Dropout())
        >>> with borrowed(model):
        ...     _ = model[0].running_mean.fill_(7.0), torch.rand(1)
        ...     print(model.training, model[1].training)
        False False
        >>> print(model.training, model[0].running_mean)
        True tensor([0., 0.])
        >>> model = torch.nn.Linear(1, 1)
        >>> before = model.weight.item()
        >>> with borrowed(model, training=None, parameters=True):
        ...     _ = model.weight.data.fill_(7.0)
        >>> model.weight.item() == before
        True
    """
    loan = Loan(model)
    with ExitStack() as stack:
        stack.callback(loan.give_back)
        if "torch._dynamo" in sys.modules:  # otherwise nothing is compiled, and it loads for long
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if parameters:
            stack.callback(
                torch.clear_autocast_cache
            )  # which keeps casts of the changed parameters
            for parameter in model.parameters():
                stack.callback(_Parameter(parameter).restore)
        if training is not None:
            for module in model.modules():
                module.training = training  # not train(): models override it to do more than that
        yield loan


class Loan:
    """What has to be given back."""

    def __init__(self, model: Module) -> None:
        self._modules = [_State(module) for module in model.modules()]
        self._attributes = [_Attributes(module) for module in model.modules()]
        self._values = {
            id(buffer): (buffer, buffer.detach().clone())  # a shared buffer once
            for state in self._modules
            for buffer in state.buffers.values()
            if buffer is not None and not _is_expanded(buffer)
        }
        self._random = _random_state()
        self._hooks: list[RemovableHandle] = []

    def hook(self, module: Module, function: Callable[..., None]) -> RemovableHandle:
        """Have `function` called with the arguments of every call of `module`, before it."""

        def before(_: Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            function(*arguments, **keywords)

        self._hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
        return self._hooks[-1]

    def watch(self, module: Module, function: Callable[[Any], None]) -> RemovableHandle:
        """Have `function` called with the output of every call of `module`."""

        def after(_: Module, __: tuple[Any, ...], output: Any) -> None:
            function(output)

        self._hooks.append(module.register_forward_hook(after))
        return self._hooks[-1]

    def rewind(self) -> None:
        """Set the random number generators back to where they were lent."""
        _set_random_state(self._random)

    @torch.no_grad()
    def restore(self) -> None:
        """Set the buffers back to what they were when lent."""
        for state in self._modules:
            state.restore_buffers()
        for buffer, value in self._values.values():
            # Through `data`, which autograd does not watch: a backward pass that waits goes on.
            if buffer.shape == value.shape:
                buffer.data.copy_(value)
            else:  # as an observer of quantization changes its own
                buffer.data = value.clone()

    def give_back(self) -> None:
        """Put everything back."""
        for hook in self._hooks:
            hook.remove()
        for state in self._modules:
            state.restore_mode()
        for attributes in self._attributes:
            attributes.restore()
        self.rewind()
        self.restore()


class _State:
    """The mode of a module, and which tensors its buffers are."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.training = module.training
        # The registry itself: `named_buffers` hides those that are shared or None.
        self.buffers: dict[str, Tensor | None] = dict(module._buffers.items())  # noqa: SLF001

    def restore_mode(self) -> None:
        self.module.training = self.training

    def restore_buffers(self) -> None:
        registry = self.module._buffers  # noqa: SLF001 -- as above
        now = dict(registry.items())  # a scripted module's registry can do little more than this
        for name in now.keys() - self.buffers.keys():
            del registry[name]
        for name, buffer in self.buffers.items():
            if now.get(name) is not buffer:
                registry[name] = buffer


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
    """What stands in plain attributes: the last output, a moving average, a number of calls."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._before = dict(vars(module))
        self._values = [
            (value, value.detach().clone())
            for value in self._before.values()
            if isinstance(value, Tensor) and not value.is_meta and not _is_expanded(value)
        ]

    def restore(self) -> None:
        now = vars(self._module)
        for name in now.keys() - self._before.keys():
            del now[name]
        for name, value in self._before.items():
            if name != "training" and now.get(name) is not value:
                now[name] = value
        for tensor, value in self._values:
            tensor.data.copy_(value)  # through `data`, as above


def _is_expanded(tensor: Tensor) -> bool:
    """Whether some of its elements are the same memory; torch refuses to write to such a tensor."""
    if tensor.layout != torch.strided:
        return False
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return any(size > 1 and stride == 0 for size, stride in pairs)


def _random_state() -> list[Tensor]:
    """Return the states of torch's generators: the CPU's, then those of the GPUs in use."""
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call] # torch has no types here
    gpus = torch.cuda.get_rng_state_all() if used else []
    return [torch.get_rng_state(), *gpus]


def _set_random_state(states: list[Tensor]) -> None:
    cpu, *gpus = states
    torch.set_rng_state(cpu)
    if gpus:
        torch.cuda.set_rng_state_all(gpus)
