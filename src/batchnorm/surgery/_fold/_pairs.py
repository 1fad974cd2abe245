"""Pairs of neighbours that the owner of a model names, where its forward cannot be traced."""

from collections.abc import Iterable, Mapping

from torch import nn

from batchnorm._model._find import is_batch_norm
from batchnorm._model._graph import Graph, Step
from batchnorm._model._linear import is_linear_map
from batchnorm._model._observe import Observation
from batchnorm.errors import OptionError, SurgeryError

Pair = tuple[str, str]


def named_pairs(model: nn.Module, pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs under the first names of their modules.

    Args:
        model: the model.
        pairs: names as `fold` takes them.

    Raises:
        OptionError: a name is unknown, or a pair is not a linear map and a layer.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    first_names = {module: name for name, module in model.named_modules()}
    checked = []
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2:  # noqa: PLR2004 -- a pair
            raise OptionError(
                f"pairs needs tuples of two names, got {pair!r}: "
                "give it as in pairs=[('conv1', 'bn1')]"
            )
        for name in pair:
            if name not in modules:
                raise OptionError(
                    f"pairs needs names of the model's modules, got {name!r}: "
                    "take them from model.named_modules()"
                )
        first, second = (modules[name] for name in pair)
        if not _fit(first, second):
            raise OptionError(
                "a pair needs one linear or convolution layer and one batch normalization, got "
                f"{pair[0]!r} ({type(first).__name__}) and {pair[1]!r} ({type(second).__name__}): "
                "name what is to be folded and what takes it up"
            )
        checked.append((first_names[first], first_names[second]))
    return checked


def graph_of_pairs(
    model: nn.Module, pairs: list[Pair], seen: Mapping[nn.Module, Observation]
) -> Graph:
    """Return the graph that the pairs are of a model, as far as a run of it confirms them.

    Args:
        model: the model.
        pairs: first names of neighbours.
        seen: what the run showed of them.

    Raises:
        SurgeryError: the second of a pair did not take the first one's result as it was.
    """
    for first, second in pairs:
        if seen[model.get_submodule(second)].source is not model.get_submodule(first):
            raise SurgeryError(
                f"a pair whose second takes the first one's result as it is is needed, got "
                f"{first!r} and {second!r}, where it does not: name neighbours"
            )
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    index = {name: i for i, name in enumerate(names)}
    calls = (
        Step(
            index[name],
            op="module",
            ops=(),
            module=name,
            inputs=tuple(index[first] for first, second in pairs if second == name),
            users=tuple(index[second] for first, second in pairs if first == name),
            shape=seen[model.get_submodule(name)].shape,
        )
        for name in names
    )
    return Graph(tuple(calls), frozenset())


def _fit(first: nn.Module, second: nn.Module) -> bool:
    if is_batch_norm(second):
        return is_linear_map(first)
    return is_batch_norm(first) and is_linear_map(second)
