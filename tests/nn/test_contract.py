"""Every module of `batchnorm.nn` keeps the contract of `laws`, on every backend."""

import inspect
import itertools

import pytest
import torch

from batchnorm import kernels, nn
from support.layers import laws
from support.layers.cases import Case, backends
from support.layers.expected import ACTIVATIONS
from support.layers.modules import TABLE

SHAPES = [(12, 3), (9, 3, 5), (7, 4, 3, 2), (8, 2, 2, 3, 2)]
EXACT = [Case(shape) for shape in SHAPES]
LAYOUTS = [
    Case(SHAPES[0], dtype=torch.float32, layout="strided"),
    Case(SHAPES[1], dtype=torch.bfloat16, layout="transposed"),
    Case(SHAPES[2], dtype=torch.float32, layout="channels_last"),
    Case(SHAPES[2], layout="transposed"),
    Case(SHAPES[3], dtype=torch.float32, layout="channels_last"),
]
NUMBERS = [
    *EXACT,
    *LAYOUTS,
    *(Case(shape, dtype=torch.bfloat16) for shape in SHAPES[::2]),
    Case(SHAPES[2], dtype=torch.float32, offset=1e4),
    Case(SHAPES[2], affine=False),
    Case(SHAPES[2], bias=False),
    Case(SHAPES[2], tracked=False),
    Case(SHAPES[2], momentum=None),
]
TOGETHER = [
    Case(SHAPES[2], activation=activation, with_residual=residual, with_mask=mask)
    for activation, residual, mask in itertools.product(
        [None, "relu", "leaky_relu", "silu"], [False, True], [False, True]
    )
    if activation or residual or mask
]
OTHERS = [
    Case(SHAPES[2], activation=activation, with_residual=True, with_mask=True)
    for activation in ACTIVATIONS
    if activation not in {case.activation for case in TOGETHER}
]
ELSEWHERE = [
    Case(SHAPES[0], activation="silu", with_residual=True, with_mask=True),
    Case(SHAPES[1], dtype=torch.float32, activation="relu", with_residual=True, with_mask=True),
    Case(SHAPES[2], layout="channels_last", activation="relu", with_residual=True),
    Case(SHAPES[3], dtype=torch.bfloat16, activation="leaky_relu", with_residual=True),
]
SMOOTH = [
    Case((6, 2), activation="silu", with_residual=True),
    Case((6, 2, 2), with_mask=True),
    Case((5, 2, 2, 1)),
    Case((5, 2, 1, 2, 1)),
]


def pairs(laws_of, cases):
    """Return every entry with every law and case that apply to it."""
    return [pytest.param(*found, id="-".join(map(name, found))) for found in fit(laws_of, cases)]


def name(found):
    return getattr(found, "__name__", str(found))


def fit(laws_of, cases):
    for entry, law, case in itertools.product(TABLE, laws_of, cases):
        usual = Case(case.shape)
        changed = {option for option, value in vars(case).items() if value != vars(usual)[option]}
        if law.__name__ in entry.unfit or changed & entry.unfit.keys():
            continue
        if entry.same and case not in [*EXACT, *ELSEWHERE, *SMOOTH]:
            continue
        yield entry, law, case


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize(
    ("entry", "law", "case"),
    [
        *pairs([laws.gradients], [*NUMBERS, *TOGETHER, *ELSEWHERE]),
        *pairs([laws.evaluation, laws.buffers], [*EXACT, *NUMBERS[-4:], *ELSEWHERE]),
        *pairs(laws.LEFT_ALONE, [*LAYOUTS, ELSEWHERE[2]]),
    ],
)
def test_numbers(entry, law, case, backend):
    with kernels.backend(backend):
        law(entry.subject(entry.layer(case.spatial)), case)


@pytest.mark.parametrize(("entry", "law", "case"), pairs([laws.gradients], OTHERS))
def test_numbers_of_other_activations(entry, law, case):
    with kernels.backend("eager"):  # each backend's formulas have tests of their own
        law(entry.subject(entry.layer(case.spatial)), case)


@pytest.mark.parametrize(
    ("entry", "law", "case"),
    [*pairs([*laws.MODES, *laws.STATE], EXACT), *pairs(laws.MODES, ELSEWHERE)],
)
def test_modes_and_state(entry, law, case):
    law(entry.subject(entry.layer(case.spatial)), case)


@pytest.mark.parametrize(("entry", "law", "case"), pairs([laws.second_derivative], SMOOTH))
def test_second_derivative(entry, law, case):
    law(entry.subject(entry.layer(case.spatial)), case)


@pytest.mark.parametrize(("entry", "law", "case"), pairs([laws.state_round_trip], EXACT))
def test_state_loads_strictly(entry, law, case):
    law(entry.subject(entry.layer(case.spatial)), case, entry.torch_layer(case.spatial))


def test_every_module_is_in_the_table():
    exported = {
        name for name, found in vars(nn).items() if inspect.isclass(found)
        and issubclass(found, torch.nn.Module) and found is not nn.Layer  # the base of most
    }  # fmt: skip
    assert exported == {f"{entry.family}{n}d" for entry in TABLE for n in (1, 2, 3)}


REFUSED = {"tracked": {"track_running_stats": False}, "affine": {"affine": False}}


@pytest.mark.parametrize(
    ("entry", "what"), [(e, what) for e in TABLE for what in e.unfit.keys() & REFUSED], ids=str
)
def test_what_does_not_apply_is_refused(entry, what):
    own = [4] if entry.family.startswith("Class") else []
    with pytest.raises((TypeError, ValueError)):
        entry.layer(2)(3, *own, **REFUSED[what])
