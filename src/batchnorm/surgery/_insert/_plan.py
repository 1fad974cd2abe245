"""Plan of an insertion: which linear maps of a model get a batch normalization layer."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn

from batchnorm._model._linear import is_linear_map
from batchnorm._model._trace import trace_both
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.surgery._insert._points import Point, Points


class Plan(NamedTuple):
    """What is to become of every linear map.

    Attributes:
        order: their names, as the model has them.
        points: the places for the layers, by name.
        reasons: why the others are left alone, by name.
    """

    order: list[str]
    points: dict[str, Point]
    reasons: dict[str, str]


def plan_of(
    model: nn.Module, example_inputs: Any, names: Iterable[str] | None, *, after_activation: bool
) -> Plan:
    """Return the plan.

    Args:
        model: any module.
        example_inputs: as for `trace`.
        names: of the linear maps to normalize whatever custom says, or `None`.
        after_activation: not before it.

    Raises:
        SurgeryError: one of `names` cannot be normalized, or the model not be traced.
        OptionError: one of `names` is no linear map.
    """
    maps: dict[nn.Module, str] = {
        module: name for name, module in model.named_modules() if is_linear_map(module)
    }
    wanted = None if names is None else _named(model, maps, names)
    both = [
        Points(model, graph, after_activation=after_activation)
        for graph in trace_both(model, example_inputs)
    ]
    plan, refused = Plan(list(maps.values()), {}, {}), dict[str, str]()
    for name in maps.values():
        point, reason = _agreed([points.of(name) for points in both])
        if wanted is not None and name not in wanted:
            plan.reasons[name] = "not among the names"
        elif point is None:
            (plan.reasons if wanted is None else refused)[name] = reason
        elif reason and wanted is None:
            plan.reasons[name] = reason
        else:
            plan.points[name] = point
    if refused:
        listing = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise SurgeryError(
            f"linear maps that can be normalized are needed, got also others ({listing}): "
            "leave them out of the names"
        )
    return plan


def _named(model: nn.Module, maps: dict[nn.Module, str], names: Iterable[str]) -> set[str]:
    """Return the first names of the linear maps that are meant."""
    modules = dict(model.named_modules(remove_duplicate=False))
    meant = {name: modules.get(name) for name in names}
    if strange := [name for name, module in meant.items() if module not in maps]:
        raise OptionError(
            f"names must be those of linear maps, got {', '.join(strange)}: "
            "take them from model.named_modules()"
        )
    return {first for module, first in maps.items() if module in meant.values()}


def _agreed(found: list[tuple[Point | None, str]]) -> tuple[Point | None, str]:
    """Return what holds in both modes."""
    (point, reason), (other, another) = found
    words = reason or another
    if point != other:
        return None, words or "what follows differs between training and evaluation"
    return point, words
