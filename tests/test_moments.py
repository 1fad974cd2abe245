import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batchnorm import Moments, reference

parts = st.lists(st.integers(0, 20), min_size=1, max_size=6)


def draw(count, offset=0.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=g, dtype=torch.float64) * 2 + offset


def assert_equal(a, b, offset=0.0):
    assert a.count.dtype == torch.int64
    assert a.count == b.count
    spacing = np.spacing(max(1.0, abs(offset)))
    torch.testing.assert_close(a.mean, b.mean, rtol=0, atol=8 * spacing)
    torch.testing.assert_close(a.m2, b.m2, rtol=1e-9, atol=8 * spacing)


@given(parts, st.sampled_from([0.0, 1e3, 1e6, -1e6]), st.integers(0, 99))
def test_any_split_merges_to_the_whole(sizes, offset, seed):
    x = draw(sum(sizes), offset, seed)
    pieces = [Moments.of(piece) for piece in x.split(sizes)]
    whole = Moments.of(x)
    assert_equal(pieces[0].merge(*pieces[1:]), whole, offset)
    one_by_one = pieces[0]
    for piece in pieces[1:]:
        one_by_one = one_by_one.merge(piece)
    assert_equal(one_by_one, whole, offset)
    assert_equal(pieces[-1].merge(*pieces[:-1]), whole, offset)  # in any order


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(7, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_of_agrees_with_the_reference(shape, dtype):
    x = torch.randn(shape).to(dtype)
    moments, expected = Moments.of(x), reference.statistics(x.double().numpy())
    assert moments.count == expected.count
    assert moments.mean.dtype == moments.m2.dtype == torch.float64
    np.testing.assert_allclose(moments.mean, expected.mean, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(moments.variance(), expected.var, rtol=1e-13)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_float32_moments_at_an_offset(offset):
    """The variance of the very values, where E[x²] - E[x]² in float32 has no digit left."""
    x = torch.randn(100_000, 2) + offset
    expected = reference.statistics(x.numpy())
    np.testing.assert_allclose(Moments.of(x).variance(), expected.var, rtol=1e-10)


def test_variance_corrections():
    moments = Moments.of(torch.tensor([[1.0], [3.0], [8.0]]))
    assert moments.variance().item() == pytest.approx(26 / 3)
    assert moments.variance(correction=1).item() == pytest.approx(13.0)
    assert Moments.of(torch.ones(1, 1)).variance(correction=1).isnan()
    assert Moments.of(torch.ones(0, 1)).variance().isnan()


def test_merging_nothing_and_empty_parts():
    whole, empty = Moments.of(draw(9)), Moments.of(draw(0))
    assert whole.merge() is whole
    assert_equal(whole.merge(empty), whole)
    assert_equal(empty.merge(whole, empty), whole)
    assert empty.merge(empty).count == 0
    assert torch.equal(empty.merge(empty).m2, torch.zeros(3, dtype=torch.float64))


def test_non_finite_parts_are_not_hidden():
    x = draw(8)
    x[1, 2] = torch.nan
    merged = Moments.of(x[:4]).merge(Moments.of(x[4:]))
    assert merged.mean.isnan().tolist() == [False, False, True]
    assert merged.m2.isnan().tolist() == [False, False, True]


def test_is_a_pytree():
    """So that torch.func and torch.compile pass it through."""
    leaves, _ = torch.utils._pytree.tree_flatten(Moments.of(draw(4)))
    assert len(leaves) == 3
