"""Batch normalization put into a network that has none."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from batchnorm import nn as ours
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.nn._layer import Layer

from ._behaviour import Behaviour, behaviour, check_error
from ._data_start import measure, start_from
from ._edit import Edit, edit
from ._insert_plan import plan_of
from ._linear import is_linear_map
from ._record import LEFT_ALONE, Change, Record
from ._sites import Site

_REDUCED_PRECISION = (torch.float16, torch.bfloat16)
_KINDS = {2: ours.BatchNorm1d, 3: ours.BatchNorm1d, 4: ours.BatchNorm2d, 5: ours.BatchNorm3d}


def insert(
    model: nn.Module,
    example_inputs: Any,
    *,
    where: Literal["before_activation", "after_activation"] = "before_activation",
    names: Iterable[str] | None = None,
    start: Literal["standard", "data"] = "standard",
    eps: float = 1e-5,
    momentum: float | None = 0.1,
) -> Record:
    """Give a network batch normalization where the paper puts it, in place.

    Every linear map (linear, convolution, transposed convolution) that a nonlinearity follows gets
    a layer behind it, and loses its bias, which the normalization would subtract again. Left alone
    are output layers, what is normalized already, and what is called more than once. What follows
    what is found by tracing.

    Args:
        model: any module. Where it had ``fc1`` it then has a `torch.nn.Sequential` of the linear
            map and the new layer, so that ``fc1.weight`` becomes ``fc1.linear.weight`` (``.conv``
            for a convolution), and the layer is ``fc1.norm``. Behind an activation likewise
            ``.activation`` and ``.norm``.
        example_inputs: a tensor, a tuple of arguments or a dict of keyword arguments that the
            model can be trained and evaluated with.
        where: before the activation, as in the paper, or behind it. The latter needs activations
            that are modules, and keeps the biases.
        names: qualified names of the linear maps to normalize, also ones that custom would leave
            alone; `None` takes those of the rule above.
        start: ``standard`` starts a layer with weight 1 and bias 0. ``data`` starts it with the
            standard deviation and mean that the example inputs give there in training, so that it
            changes nothing at first: the model gives what it gave before.
        eps: of the new layers.
        momentum: of the new layers.

    Returns:
        What became of every linear map.

    Raises:
        SurgeryError: one of `names` cannot be normalized, the model cannot be traced, does not run
            with the new layers, or, with ``start="data"``, gives other numbers. It is as before.
        OptionError: an option is not one of those above, or one of `names` is no linear map.

    Note:
        Create the optimizer afterwards: one that exists goes on holding the biases that are gone,
        and does not know the new parameters. Load an old checkpoint before, because of the names.

    References:
        Ioffe and Szegedy (2015), section 3.2.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2))
        >>> print(insert(model, torch.randn(8, 3)))
        insert: 1 done, 1 left alone
        module  what        detail
        0       normalized  BatchNorm1d(4) as 0.norm, bias removed
        2       left alone  its result is an output of the model
        >>> [name for name, _ in model.named_parameters()]
        ['0.linear.weight', '0.norm.weight', '0.norm.bias', '2.weight', '2.bias']
    """
    _check_options(where, start)
    plan = plan_of(model, example_inputs, names, after_activation=where == "after_activation")
    before = {mode: behaviour(model, example_inputs, training=mode) for mode in (True, False)}
    found = measure(model, example_inputs, plan.sites) if start == "data" else {}
    with edit(model) as changes:
        rows = {name: Change(name, LEFT_ALONE, why) for name, why in plan.reasons.items()}
        for name, site in plan.sites.items():
            linear = model.get_submodule(name)
            layer = _layer(linear, site, eps, momentum)
            bias = _remove_bias(linear, changes) if site.module == name else None
            if start == "data":
                start_from(found[name], layer, bias)
            words = _put(model.get_submodule(site.module), layer, site, changes)
            rows[name] = Change(name, "normalized", words + ", bias removed" * (bias is not None))
        after = {mode: _behaviour(model, example_inputs, training=mode) for mode in before}
        error = _error(after, before) if start == "data" else None
    return Record("insert", tuple(rows[name] for name in plan.order), error)


def _check_options(where: str, start: str) -> None:
    if where not in ("before_activation", "after_activation"):
        raise OptionError(
            f"where must be 'before_activation' or 'after_activation', got {where!r}: take one"
        )
    if start not in ("standard", "data"):
        raise OptionError(f"start must be 'standard' or 'data', got {start!r}: take one of them")


def _layer(linear: nn.Module, site: Site, eps: float, momentum: float | None) -> Layer:
    weight = next(linear.parameters())
    dtype = torch.float32 if weight.dtype in _REDUCED_PRECISION else weight.dtype
    kind = _KINDS[site.ndim]
    return kind(site.channels, eps=eps, momentum=momentum, device=weight.device, dtype=dtype)


def _remove_bias(linear: nn.Module, changes: Edit) -> Tensor | None:
    """Take a linear map's bias away and return it, unless something else makes it."""
    bias = linear._parameters.get("bias")  # noqa: SLF001 -- not that of a parametrization
    if bias is not None:
        changes.set_parameter(linear, "bias", None)
    return bias


def _put(before: nn.Module, layer: nn.Module, site: Site, changes: Edit) -> str:
    """Put a layer behind a module, and return what to say of it."""
    linear = "linear" if isinstance(before, nn.Linear) else "conv"
    part = linear if is_linear_map(before) else "activation"
    behind = nn.Sequential(OrderedDict({part: before, "norm": layer}))
    behind.training = layer.training = before.training
    changes.replace(before, behind)
    return f"{type(layer).__name__}({site.channels}) as {site.module}.norm"


def _behaviour(model: nn.Module, example_inputs: Any, *, training: bool) -> Behaviour:
    """Run the changed model."""
    try:
        return behaviour(model, example_inputs, training=training)
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        raise SurgeryError(
            "a model that runs with the new layers is needed, got "
            f"{type(error).__name__} ({first}): leave out with names= what is read as an "
            "attribute elsewhere, or give more than one sample; it is as it was before"
        ) from error


def _error(after: dict[bool, Behaviour], before: dict[bool, Behaviour]) -> float:
    return max(
        check_error(after[mode].output_error(expected), expected.tolerance, training=mode)
        for mode, expected in before.items()
    )
