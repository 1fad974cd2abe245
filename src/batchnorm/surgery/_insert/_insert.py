"""Insertion of batch normalization into a network that has none."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from batchnorm import nn as ours
from batchnorm._model._behaviour import Pass, in_double
from batchnorm._model._call import check_call
from batchnorm._model._compare import Proof
from batchnorm._model._edit import Edit, edit
from batchnorm._model._linear import is_linear_map
from batchnorm._moments import Moments
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.nn import Layer
from batchnorm.nn._modes import check_model
from batchnorm.surgery._insert._data_dependent import measure, start_from
from batchnorm.surgery._insert._plan import Plan, plan_of
from batchnorm.surgery._insert._points import Point
from batchnorm.surgery._record import LEFT_ALONE, Change, Record

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
    check_model(model)
    _check_options(where, start)
    check_call(model, example_inputs)
    plan = plan_of(model, example_inputs, names, after_activation=where == "after_activation")
    inserted = _Insertion(plan, example_inputs if start == "data" else None, eps, momentum)
    passes = [Pass(example_inputs, training=mode, outputs_only=True) for mode in (True, False)]
    proof = Proof(
        model,
        inserted.make,
        passes,
        advice="leave places out with names=",
        change_in_double=inserted.in_double().make,
    )
    with edit(model) as changes:
        done = inserted.make(model, changes)
        _check_runs(model, passes)
        error = proof.check(model) if start == "data" else None
    left = {name: Change(name, LEFT_ALONE, why) for name, why in plan.reasons.items()}
    return Record("insert", tuple((left | done)[name] for name in plan.order), error)


def _check_options(where: str, start: str) -> None:
    if where not in ("before_activation", "after_activation"):
        raise OptionError(
            f"where must be 'before_activation' or 'after_activation', got {where!r}: take one"
        )
    if start not in ("standard", "data"):
        raise OptionError(f"start must be 'standard' or 'data', got {start!r}: take one of them")


class _Insertion(NamedTuple):
    """New layers for the places of a plan.

    Attributes:
        plan: the places.
        example_inputs: what the layers start from; `None` starts them as usual.
        eps: of the layers.
        momentum: of the layers.
    """

    plan: Plan
    example_inputs: Any
    eps: float
    momentum: float | None

    def in_double(self) -> "_Insertion":
        """Return the same for a copy of the model in float64."""
        given = self.example_inputs
        return self if given is None else self._replace(example_inputs=in_double(given))

    def make(self, model: nn.Module, changes: Edit) -> dict[str, Change]:
        """Insert the layers into the model or its copy, and return what was done."""
        given, points = self.example_inputs, self.plan.points
        moments = {} if given is None else measure(model, given, points)
        return {
            name: self._insert(model, name, point, moments.get(name), changes)
            for name, point in points.items()
        }

    def _insert(
        self, model: nn.Module, name: str, point: Point, moments: Moments | None, changes: Edit
    ) -> Change:
        linear = model.get_submodule(name)
        layer = _layer(linear, point, self.eps, self.momentum)
        bias = _remove_bias(linear, changes) if point.module == name else None
        if moments is not None:
            start_from(moments, layer, bias)
        words = _put(model.get_submodule(point.module), layer, point, changes)
        return Change(name, "normalized", words + ", bias removed" * (bias is not None))


def _layer(linear: nn.Module, point: Point, eps: float, momentum: float | None) -> Layer:
    weight = next(linear.parameters())
    dtype = torch.float32 if weight.dtype in _REDUCED_PRECISION else weight.dtype
    kind = _KINDS[point.ndim]
    return kind(point.channels, eps=eps, momentum=momentum, device=weight.device, dtype=dtype)


def _remove_bias(linear: nn.Module, changes: Edit) -> Tensor | None:
    """Take a linear map's bias away and return it, unless something else makes it."""
    bias = linear._parameters.get("bias")  # noqa: SLF001 -- not that of a parametrization
    if bias is not None:
        changes.set_parameter(linear, "bias", None)
    return bias


def _put(before: nn.Module, layer: nn.Module, point: Point, changes: Edit) -> str:
    """Put a layer behind a module, and return its report."""
    linear = "linear" if isinstance(before, nn.Linear) else "conv"
    part = linear if is_linear_map(before) else "activation"
    behind = nn.Sequential(OrderedDict({part: before, "norm": layer}))
    behind.training = layer.training = before.training
    changes.replace(before, behind)
    return f"{type(layer).__name__}({point.channels}) as {point.module}.norm"


def _check_runs(model: nn.Module, passes: Iterable[Pass]) -> None:
    """Run the changed model."""
    try:
        for one in passes:
            one.of(model)
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        raise SurgeryError(
            "a model that runs with the new layers is needed, got "
            f"{type(error).__name__} ({first}): leave out with names= what is read as an "
            "attribute elsewhere, or give more than one sample; it is as it was before"
        ) from error
