"""Layers that hold parameters, in the order in which a forward pass calls them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch.jit import ScriptModule
from torch.nn import Module

from batchnorm._model._borrow import Loan
from batchnorm.errors import OptionError

Calls = dict[str, int]


@contextmanager
def first_calls(loan: Loan, model: Module) -> Iterator[Calls]:
    """Collect, by name, which of the modules was called first, second and so on."""
    calls: Calls = {}

    def note(name: str) -> None:
        calls.setdefault(name, len(calls))

    hooks = [
        loan.hook(module, lambda *_, name=name, **__: note(name))
        for name, module in model.named_modules()
        if can_be_hooked(module)
    ]
    yield calls
    for hook in hooks:  # after an exception the loan takes them off
        hook.remove()


def can_be_hooked(module: Module) -> bool:
    """Whether hooks can be put on a module; scripted ones refuse them."""
    return not isinstance(module, ScriptModule)


def by_layer(parameters: Iterable[str], calls: Calls) -> dict[str, list[str]]:
    """Return the names of the parameters by that of their layer, in the order of the calls.

    A layer that is not called itself, as the output projection of attention, comes with the
    module around it.

    Example:
        >>> by_layer(["b.weight", "a.weight", "a.bias"], {"": 0, "a": 1, "b": 2})
        {'a': ['a.weight', 'a.bias'], 'b': ['b.weight']}
    """
    layers: dict[str, list[str]] = {}
    for parameter in parameters:
        layers.setdefault(parameter.rpartition(".")[0], []).append(parameter)
    return {name: layers[name] for name in sorted(layers, key=lambda name: _place(name, calls))}


def _place(name: str, calls: Calls) -> int:
    while name and name not in calls:
        name = name.rpartition(".")[0]
    return calls.get(name, -1)


def check_names(names: Iterable[str] | None, known: Iterable[str], what: str) -> list[str]:
    """Return the wanted names in the order of those known; all of them for `None`.

    Args:
        names: the wanted ones.
        known: the possible ones.
        what: what these are.

    Raises:
        OptionError: one of the wanted ones is not known.
    """
    known = list(known)
    if names is None:
        return known
    if isinstance(names, str):
        raise OptionError(
            f"names must be a list of names, got the text {names!r}: put it in a list"
        )
    wanted = set(names)
    if unknown := sorted(wanted - set(known)):
        raise OptionError(
            f"names must be those of {what}, got {unknown[0]!r}: "
            f"take them from {', '.join(map(repr, known[:5]))}{' ...' if len(known) > 5 else ''}"  # noqa: PLR2004
        )
    return [name for name in known if name in wanted]
