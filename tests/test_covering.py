"""A covering leaves out combinations, but no pair or triple of values."""

from itertools import combinations, product

import pytest

from support.covering import covering

AXES = [range(4), "abc", [True, False], [None, 1], [True, False]]


@pytest.mark.parametrize("strength", [1, 2, 3])
def test_any_few_axes_have_every_combination(strength):
    rows = covering(*AXES, strength=strength)
    for places in combinations(range(len(AXES)), strength):
        found = {tuple(row[place] for place in places) for row in rows}
        assert found == set(product(*(AXES[place] for place in places)))


def test_it_is_small_and_always_the_same():
    rows = covering(*AXES, strength=2)
    assert len(rows) <= 16 < len(list(product(*AXES)))
    assert rows == covering(*AXES, strength=2)


def test_as_many_axes_as_the_strength_are_the_product():
    assert covering("ab", [1, 2, 3], strength=2) == list(product("ab", [1, 2, 3]))
