"""Sharpness beside known spectra, and beside the whole Hessian that torch writes out."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import batchnorm
from batchnorm import kernels
from batchnorm.errors import DataError, MeasurementError, NonFiniteError, OptionError
from batchnorm.measure import Lanczos, loss_landscape, sharpness
from batchnorm.measure._lanczos import Ends, eigenpairs
from support.layers.cases import backends

SPECTRA = {
    "distinct": [5.0, 3.0, 1.0, 0.5, -0.2, -4.0],
    "repeated": [3.0, 3.0, 3.0, 1.0, 0.0, -2.0, -2.0],
    "all the same": [2.0] * 30,
    "zero": [0.0] * 9,
    "of low rank": [7.0, 5.0] + [0.0] * 40,
    "negative": [-1.0, -1.5, -2.0, -9.0],
    "clustered": [100.0, 99.99, 99.98, *np.linspace(-1, 1, 40)],
    "spread": [*np.geomspace(1e-6, 1e3, 60), *-np.geomspace(1e-6, 10, 20)],
    "one": [-3.0],
}
EXACT = Lanczos(tolerance=1e-6, max_products=2000, seed=3)
families = pytest.mark.parametrize("family", [nn, batchnorm.nn], ids=["torch", "ours"])


def matrix(spectrum, seed=0):
    """Return a symmetric matrix with these eigenvalues."""
    values = torch.tensor(spectrum, dtype=torch.float64)
    draws = torch.randn(len(values), len(values), dtype=torch.float64,
                        generator=torch.Generator().manual_seed(seed))  # fmt: skip
    basis = torch.linalg.qr(draws)[0]
    return basis * values @ basis.T


def expected(spectrum, k, smallest):
    ordered = sorted(spectrum, reverse=True)
    return ordered[:k] + ordered[len(ordered) - smallest :]


class Bowl(nn.Module):
    """L(w) = ½ wᵀ A w, with w in two parameters."""

    def __init__(self, a):
        super().__init__()
        self.a = a
        self.first = nn.Parameter(torch.randn(len(a) // 2).to(a))
        self.second = nn.Parameter(torch.randn(len(a) - len(a) // 2).to(a))

    def forward(self):
        w = torch.cat([self.first, self.second])
        return w @ self.a @ w / 2


def of_bowl(spectrum, **options):
    return sharpness(Bowl(matrix(spectrum)), [None], forward=lambda m, _: m(), **options)


def values(record):
    return [each.value for each in record.eigenvalues]


# ----------------------------------------------------------------------------------- known spectra


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=list(SPECTRA))
@pytest.mark.parametrize(("k", "smallest"), [(1, 0), (1, 1), (3, 0), (2, 2), (1, 3)])
def test_a_quadratic_has_the_eigenvalues_that_it_is_made_of(spectrum, k, smallest):
    if k + smallest > len(spectrum):
        k, smallest = 1, 0
    record = of_bowl(spectrum, k=k, smallest=smallest, lanczos=EXACT)
    scale = max(map(abs, spectrum))
    assert values(record) == pytest.approx(expected(spectrum, k, smallest), abs=1e-9 * scale)
    assert record.converged
    assert record.note is None
    assert record.parameters == len(spectrum)


@given(
    spectrum=st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=1, max_size=40),
    wanted=st.tuples(st.integers(1, 4), st.integers(0, 4)),
    products=st.integers(24, 60),
    seed=st.integers(0, 2**31),
)
def test_an_eigenvalue_lies_within_each_bound(spectrum, wanted, products, seed):
    k = min(wanted[0], len(spectrum))
    ends = Ends(k, min(wanted[1], len(spectrum) - k))
    a = matrix(spectrum, seed)
    options = Lanczos(tolerance=1e-6, max_products=products, seed=seed)
    found = eigenpairs(lambda v: v @ a, len(a), ends, options, floor=1e-10)
    rounding = 1e-12 * max(1.0, *map(abs, spectrum))
    for value, bound in zip(found.values, found.bounds, strict=True):
        assert np.abs(value.item() - np.array(spectrum)).min() <= bound.item() + rounding
    for value, bound in zip(
        found.values[found.converged], found.bounds[found.converged], strict=True
    ):
        zero = 1e-10 * max(map(abs, spectrum)) + rounding
        assert bound <= (zero if abs(value) <= zero else 1e-6 * abs(value))
    assert found.products <= products
    identity = torch.eye(len(found.vectors), dtype=torch.float64)
    torch.testing.assert_close(found.vectors @ found.vectors.T, identity, rtol=0, atol=1e-10)
    assert (found.values.diff() <= 0).all()


def test_restarts_go_on_where_they_were():
    spectrum = [*np.linspace(-1, 1, 400)]  # takes many more products than vectors are kept
    record = of_bowl(spectrum, lanczos=Lanczos(tolerance=1e-5, max_products=1000))
    assert record.products > 40
    assert record.converged
    assert record.largest == pytest.approx(1.0, abs=1e-9)


def test_what_did_not_converge_is_said():
    record = of_bowl([*np.linspace(-1, 1, 400)], k=2, lanczos=Lanczos(max_products=10))
    assert not record.converged
    assert record.products <= 10
    assert record.note.startswith("not converged: 2 of 2 eigenvalues are only as good as")
    assert all(each.bound > 1e-3 for each in record.eigenvalues)
    for each in record.eigenvalues:
        assert np.abs(each.value - np.linspace(-1, 1, 400)).min() <= each.bound
    assert "not converged" in str(record)


def test_the_seed_decides():
    spectrum = [*np.linspace(-1, 1, 400)]
    torch.manual_seed(0)
    model = Bowl(matrix(spectrum))
    measure = partial(sharpness, model, [None], forward=lambda m, _: m())
    once = measure(lanczos=Lanczos(max_products=10, seed=1))
    torch.manual_seed(5)
    assert measure(lanczos=Lanczos(max_products=10, seed=1)).as_dict() == once.as_dict()
    assert measure(lanczos=Lanczos(max_products=10, seed=2)).largest != once.largest


def test_the_largest_of_it_bounds_the_smoothness_along_the_gradient():
    model = Bowl(matrix([4.0, 1.0, 0.3]))
    options = {"forward": lambda m, _: m()}
    along = loss_landscape(model, None, learning_rate=0.1, **options).effective_smoothness
    assert along <= sharpness(model, [None], **options).largest * (1 + 1e-9)


# ---------------------------------------------------------------------- beside the whole Hessian


def network(family, *, dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 2, 2, bias=False),
        family.BatchNorm2d(2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8, 3),
        family.BatchNorm1d(3),
        nn.Softplus(),
        nn.Dropout(dropout),
        nn.Linear(3, 3),
    ).double()


def batches(*sizes, layout=torch.contiguous_format):
    return [
        (torch.randn(n, 2, 3, 3).double().contiguous(memory_format=layout), torch.arange(n) % 3)
        for n in sizes
    ]


def whole(model, data, loss=F.cross_entropy, names=None):
    """Return the Hessian of the mean loss by the parameters, written out by torch."""
    chosen = {n: p for n, p in model.named_parameters() if p.requires_grad and (
        names is None or n in names)}  # fmt: skip
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    flat = torch.cat([p.detach().flatten() for p in chosen.values()])

    def mean_loss(w):
        parts = w.split([p.numel() for p in chosen.values()])
        given = {n: part.view_as(p) for (n, p), part in zip(chosen.items(), parts, strict=True)}
        total = 0.0
        for x, target in data:
            state = {**given, **{n: b.clone() for n, b in buffers.items()}}
            total = total + len(x) * loss(functional_call(model, state, (x,)), target)
        return total / sum(len(x) for x, _ in data)

    return torch.autograd.functional.hessian(mean_loss, flat), flat


def ends_of(hessian, k, smallest):
    return expected(torch.linalg.eigvalsh(hessian).tolist(), k, smallest)


class Synchronized(nn.Module):
    """The namespace of torch's synchronized layer, which is a plain one in a single process."""

    BatchNorm1d = BatchNorm2d = nn.SyncBatchNorm


SUBJECTS = {"torch": (nn, "eager"), "synchronized": (Synchronized, "eager")} | {
    f"ours, {backend}": (batchnorm.nn, backend) for backend in backends()
}


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize(
    ("training", "layout"),
    [
        (True, torch.contiguous_format),
        (True, torch.channels_last),
        (False, torch.contiguous_format),
    ],
)
def test_a_network_has_the_eigenvalues_of_its_whole_hessian(subject, training, layout):
    family, backend = SUBJECTS[subject]
    data, model = batches(5, 9, layout=layout), network(family)
    model.train()(data[0][0])  # so that evaluation has something to normalize with
    reference = network(nn)
    reference.load_state_dict(model.state_dict())
    hessian, _ = whole(reference.train(training), data)
    with kernels.backend(backend):
        record = sharpness(
            model, data, F.cross_entropy, k=2, smallest=1, training=training, lanczos=EXACT
        )
    assert values(record) == pytest.approx(ends_of(hessian, 2, 1), rel=1e-9)
    assert record.converged
    assert (record.batches, record.parameters) == (2, len(hessian))


def test_the_loss_is_the_mean_over_all_examples():
    data, model = batches(5, 9), network(nn).eval()
    record = sharpness(model, data, F.cross_entropy)
    x, target = (torch.cat(parts) for parts in zip(*data, strict=True))
    assert record.loss == pytest.approx(F.cross_entropy(model(x), target).item(), rel=1e-12)
    assert record.largest == pytest.approx(
        sharpness(model, [(x, target)], F.cross_entropy).largest, rel=1e-5
    )


@families
def test_single_precision_is_within_its_bounds(family):
    data, model = batches(5, 9), network(family)
    exact = sharpness(model, data, F.cross_entropy, k=2, lanczos=EXACT)
    single = [(x.float(), target) for x, target in data]
    record = sharpness(model.float(), single, F.cross_entropy, k=2, lanczos=Lanczos(tolerance=1e-4))
    assert record.converged
    for found, right in zip(record.eigenvalues, exact.eigenvalues, strict=True):
        assert found.value == pytest.approx(right.value, rel=1e-5)
        assert found.bound < 1e-3


def test_rounding_that_hides_the_tolerance_is_said():
    data, model = batches(64), network(nn).bfloat16()
    coarse = [(x.bfloat16(), target) for x, target in data]
    record = sharpness(model, coarse, F.cross_entropy)
    assert not record.converged
    assert record.products < 200
    assert record.eigenvalues[0].bound > 1e-3 * record.largest
    assert "less rounding" in record.note
    exact = sharpness(network(nn), data, F.cross_entropy)
    assert abs(record.largest - exact.largest) < 0.1 * exact.largest


@families
def test_a_frozen_layer_and_parameters_that_are_held(family):
    data, model = batches(8), network(family)
    model(data[0][0])
    model[1].eval().requires_grad_(False)
    if family is batchnorm.nn:
        batchnorm.freeze(model[5])
    else:
        model[5].eval()
    record = sharpness(model, data, F.cross_entropy, lanczos=EXACT)
    reference = network(nn)
    reference.load_state_dict(model.state_dict())
    frozen = [number for number in (1, 5) if not model[number].weight.requires_grad]
    for number in (1, 5):
        reference[number].eval().requires_grad_(number not in frozen)
    hessian, _ = whole(reference, data)
    assert record.largest == pytest.approx(ends_of(hessian, 1, 0)[0], rel=1e-9)
    assert record.parameters == len(hessian)


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (["0"], ["0.weight"]),
        (["4.bias", "8"], ["4.bias", "8.weight", "8.bias"]),
        ([""], None),
    ],
)
def test_names_choose_a_block_of_it(names, meant):
    data, model = batches(8), network(batchnorm.nn)
    record = sharpness(model, data, F.cross_entropy, names=names, lanczos=EXACT)
    hessian, _ = whole(network(nn), data, names=meant)
    assert record.largest == pytest.approx(ends_of(hessian, 1, 0)[0], rel=1e-9)


def test_a_shared_parameter_counts_once_under_any_name():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    model[2].weight = model[0].weight
    data = [(torch.randn(6, 3).double(), torch.randn(6, 3).double())]
    hessian, _ = whole(model, data, F.mse_loss)
    record = sharpness(model, data, F.mse_loss, lanczos=EXACT)
    assert record.largest == pytest.approx(ends_of(hessian, 1, 0)[0], rel=1e-9)
    assert record.parameters == len(hessian) == 15
    assert sharpness(model, data, F.mse_loss, names=["2.weight"]).parameters == 9


def test_a_parameter_that_the_loss_does_not_see_adds_a_zero():
    model = nn.ModuleDict({"seen": nn.Linear(2, 1), "unseen": nn.Linear(1, 1)}).double()
    x = torch.randn(4, 2).double()
    record = sharpness(
        model, [x], forward=lambda m, x: m["seen"](x).square().mean(), k=5, lanczos=EXACT
    )
    assert record.parameters == 5
    assert values(record)[3:] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert values(record)[2] > 1e-6


def test_gradients_of_an_embedding_may_be_sparse():
    found = []
    for sparse in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(5, 3, sparse=sparse), nn.Linear(3, 1)).double()
        data = [(torch.tensor([0, 1, 1]), torch.ones(3, 1).double())]
        found.append(sharpness(model, data, F.mse_loss).largest)
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_every_product_sees_the_same_masks_and_every_batch_others():
    model, data = network(batchnorm.nn, dropout=0.5).train(), batches(64)
    record = sharpness(model, data, F.cross_entropy)
    assert record.converged
    twice = sharpness(model, data * 2, F.cross_entropy)
    assert twice.converged
    assert twice.largest != pytest.approx(record.largest, rel=1e-3)
    steady = network(batchnorm.nn).train()
    assert sharpness(steady, data * 2, F.cross_entropy).largest == pytest.approx(
        sharpness(steady, data, F.cross_entropy).largest, rel=1e-6
    )


def test_a_forward_that_is_never_the_same_is_not_said_to_converge():
    model, draws = nn.Linear(20, 1, bias=False).double(), np.random.default_rng(0)
    forward = lambda m, x: (m(x).square() * torch.from_numpy(draws.random((8, 1)))).mean()  # noqa: E731
    assert not sharpness(model, [torch.randn(8, 20).double()], forward=forward).converged


@families
def test_vectors_are_those_of_the_hessian(family):
    data, model = batches(8), network(family)
    record = sharpness(
        model, data, F.cross_entropy, k=2, lanczos=Lanczos(tolerance=1e-6, vectors=True)
    )
    hessian, _ = whole(network(nn), data)
    assert len(record.vectors) == 2
    for vector, found in zip(record.vectors, record.eigenvalues, strict=True):
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        assert {name: part.shape for name, part in vector.items()} == shapes
        flat = torch.cat([part.flatten() for part in vector.values()])
        assert flat.dtype == torch.float64
        assert flat.norm().item() == pytest.approx(1.0, rel=1e-12)
        residual = (hessian @ flat - found.value * flat).norm().item()
        assert residual == pytest.approx(found.bound, rel=1e-3, abs=1e-12)
    json.dumps(record.as_dict(), allow_nan=False)
    assert sharpness(model, data, F.cross_entropy).vectors == ()


# ----------------------------------------------------------------------------------- laws of scale


def test_a_loss_times_c_has_c_times_the_eigenvalues():
    data, model = batches(8), network(batchnorm.nn)
    once = sharpness(model, data, F.cross_entropy, k=2, smallest=1, lanczos=EXACT)
    for c in (3.0, -0.5):
        scaled = sharpness(
            model, data, lambda y, t, c=c: c * F.cross_entropy(y, t), k=2, smallest=2,
            lanczos=EXACT,
        )  # fmt: skip
        if c > 0:
            assert values(scaled)[:2] == pytest.approx([c * v for v in values(once)[:2]], rel=1e-8)
        else:
            assert values(scaled)[0] == pytest.approx(c * values(once)[-1], rel=1e-8)
            assert values(scaled)[-1] == pytest.approx(c * values(once)[0], rel=1e-8)


def before_normalization(family):
    """Return a network that does not depend on the scale of its weight "0", filter by filter."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 2, bias=False), family.BatchNorm2d(3, eps=1e-12), nn.Flatten(),
        nn.Tanh(), nn.Linear(12, 3),
    )  # fmt: skip
    return model.double().train()


@families
def test_a_weight_before_a_normalization_is_less_sharp_by_its_square(family):
    data, model = batches(8), before_normalization(family)
    measure = partial(sharpness, model, data, F.cross_entropy, names=["0"], k=2, smallest=1)
    small = measure(lanczos=EXACT)
    model[0].weight.data.mul_(3.0)
    assert values(measure(lanczos=EXACT)) == pytest.approx(
        [value / 9 for value in values(small)], rel=1e-6
    )


@families
@pytest.mark.parametrize("relative_to", ["model", "filter", "element"])
def test_relative_to_its_size_it_is_as_sharp_at_any_size(family, relative_to):
    data, model = batches(8), before_normalization(family)
    measure = partial(
        sharpness, model, data, F.cross_entropy, names=["0"], k=2, relative_to=relative_to,
        lanczos=EXACT,
    )  # fmt: skip
    before = measure()
    model[0].weight.data.mul_(3.0)
    assert values(measure()) == pytest.approx(values(before), rel=1e-6)
    assert before.relative_to == relative_to
    model[0].weight.data.mul_(torch.tensor([0.5, 2.0, 4.0]).double().view(3, 1, 1, 1))
    if relative_to == "model":  # which is one size for all filters
        assert values(measure()) != pytest.approx(values(before), rel=1e-2)
    else:
        assert values(measure()) == pytest.approx(values(before), rel=1e-6)


@families
def test_relative_to_the_model_it_is_the_hessian_on_the_unit_sphere(family):
    data, model = batches(8), before_normalization(family)
    measure = partial(sharpness, model, data, F.cross_entropy, names=["0"], lanczos=EXACT)
    relative = measure(relative_to="model").largest
    model[0].weight.data.div_(model[0].weight.norm())
    assert relative == pytest.approx(measure().largest, rel=1e-6)


@pytest.mark.parametrize("relative_to", ["model", "filter", "element"])
def test_relative_to_a_unit_it_is_the_hessian_between_two_diagonals(relative_to):
    data, model = batches(8), network(batchnorm.nn)
    hessian, flat = whole(network(nn), data)
    weights = [p.detach() for p in model.parameters()]
    units = {
        "model": flat.norm().expand(len(flat)),
        "element": flat.abs(),
        "filter": torch.cat([
            w.reshape(len(w), -1).norm(dim=1).repeat_interleave(w[0].numel()) for w in weights
        ]),
    }[relative_to]  # fmt: skip
    record = sharpness(
        model, data, F.cross_entropy, k=2, smallest=1, relative_to=relative_to, lanczos=EXACT
    )
    right = ends_of(units[:, None] * hessian * units, 2, 1)
    assert values(record) == pytest.approx(right, rel=1e-8)


# ---------------------------------------------------------------------------------------- the door


class Once(torch.autograd.Function):
    """A square whose backward pass cannot be differentiated, as of many kernels."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        return 2 * ctx.saved_tensors[0] * dy


def attention(model, x):
    q = model.weight * x
    return F.scaled_dot_product_attention(q, q, q).sum()


BAD_LOSSES = {
    "linear": (
        lambda m, _: m.weight.sum(),
        MeasurementError, r"second derivative is needed, .* does not depend .*: it is linear",
    ),
    "once": (
        lambda m, _: Once.apply(m(torch.ones(2)).tanh()).sum(),  # of whose parts some are seen
        MeasurementError, r"twice is needed, got the once_differentiable Once in it: take plain",
    ),
    "attention": (
        attention, MeasurementError, r"differentiated twice .* \(derivative for aten::.*SDPBackend",
    ),
    "square root at 0": (
        lambda m, _: (m.weight * 0).square().sum().add(m.weight.pow(2).sum() * 0).pow(1.5).sum(),
        MeasurementError, r"finite second derivative is needed, got NaN or Inf in its product",
    ),
    "infinite": (
        lambda m, _: (m.weight * torch.inf).sum(),
        NonFiniteError, r"a finite loss with a finite gradient is needed",
    ),
    "of many numbers": (
        lambda m, _: m.weight.square(), MeasurementError, r"a loss of one number is needed, got",
    ),
    "detached": (
        lambda m, _: m.weight.detach().sum(), MeasurementError, r"depends on the parameters",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_LOSSES)
def test_losses_that_have_no_second_derivative(name):
    forward, error, message = BAD_LOSSES[name]
    model = nn.Linear(2, 2)
    with pytest.raises(error, match=message):
        sharpness(model, [torch.ones(1, 1, 2, 2)], forward=forward)


def square(model, _):
    return sum(p.square().sum() for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"k must be at least 1 and smallest at least 0, got 0 and 0: take k=1"),
        ({"smallest": -1}, r"got 1 and -1"),
        ({"k": 5, "smallest": 2}, r"got 7 asked for of 6: take a smaller k"),
        ({"relative_to": "layer"}, r"relative_to must be None, 'model', .* got 'layer': take"),
        ({"names": ["x"]}, r"names must be those of parameters .* got 'x': take them from ''"),
        ({"names": []}, r"names must choose a parameter, got an empty list: leave it out"),
        ({"lanczos": Lanczos(max_products=5), "k": 2}, r"at least 6 for 2 eigenvalues, got 5"),
        ({"batches": torch.ones(2, 2)}, r"batches must be an iterable of batches, got a Tensor"),
    ],
)
def test_options_at_the_door(options, message):
    with pytest.raises(OptionError, match=message):
        sharpness(nn.Linear(2, 2), **{"batches": [None], "forward": square, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, r"tolerance must lie between 0 and 1, got 0.0: take 1e-3"),
        ({"tolerance": float("nan")}, r"tolerance must lie between 0 and 1, got nan"),
        ({"max_products": 2}, r"max_products must be at least 3 for 1 eigenvalues, got 2: take"),
    ],
)
def test_options_of_the_search(options, message):
    with pytest.raises(OptionError, match=message):
        Lanczos(**options)


@pytest.mark.parametrize(
    ("data", "loss", "message"),
    [
        ([], None, r"at least one batch is needed, got none: look at where they come from"),
        ([torch.ones(2, 2)], F.mse_loss, r"must be a pair of input and target, got a Tensor"),
        ([torch.ones(2, 2), None], None, r"got no tensor in the NoneType at place 1: leave it out"),
        ([torch.ones(2, 2), torch.ones(0, 2)], None, r"got a first one of shape \(0, 2\) in the"),
        ([torch.ones(2, 2), torch.ones(())], None, r"got a first one of shape \(\) in the Tensor"),
    ],
)
def test_batches_at_the_door(data, loss, message):
    with pytest.raises(DataError, match=message):
        sharpness(nn.Linear(2, 2), data, loss, forward=square if loss is None else None)


def test_complex_parameters_are_refused_where_they_are_chosen():
    model = nn.ParameterDict({"real": torch.randn(2), "complex": torch.randn(2) + 1j})
    forward = lambda m, _: m["real"].square().sum() + m["complex"].abs().square().sum()  # noqa: E731
    with pytest.raises(MeasurementError, match=r"got 1 complex ones \['complex'\]: choose others"):
        sharpness(model, [None], forward=forward)
    assert sharpness(model, [None], forward=forward, names=["real"]).largest == pytest.approx(2.0)


def test_a_model_without_parameters_that_learn_is_refused():
    with pytest.raises(MeasurementError, match=r"got 2 parameters that do not: let some of them"):
        sharpness(nn.Linear(2, 2).requires_grad_(False), [None], forward=square)
