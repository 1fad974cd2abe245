"""Where a dimension goes, found by moving a tensor of indices."""

import pytest

from batchnorm._model._layout_ops import dimension_after


@pytest.mark.parametrize(
    ("move", "dim", "expected"),
    [
        (lambda x: x, 1, ((2, 3, 4, 5), 1)),
        (lambda x: x.transpose(1, 3), 1, ((2, 5, 4, 3), 3)),
        (lambda x: x.permute(3, 1, 0, 2), 0, ((5, 3, 2, 4), 2)),
        (lambda x: x.flatten(0, 2), 3, ((24, 5), 1)),
        (lambda x: x.flatten(0, 2), 1, None),
        (lambda x: x.flatten(2), 1, ((2, 3, 20), 1)),
        (lambda x: x.unsqueeze(0), 3, ((1, 2, 3, 4, 5), 4)),
        (lambda x: x.transpose(1, 2).reshape(2, 3, 4, 5), 1, None),
        (lambda x: x.view(6, 4, 5), 2, ((6, 4, 5), 1)),
        (lambda x: x.unflatten(3, (1, 5)), 3, ((2, 3, 4, 1, 5), 4)),
        (lambda x: x.flip(1), 1, None),
    ],
)
def test_where_a_dimension_goes(move, dim, expected):
    assert dimension_after(move, (2, 3, 4, 5), dim) == expected


def test_dimensions_of_the_same_size_are_not_taken_for_each_other():
    assert dimension_after(lambda x: x.transpose(1, 2), (3, 3, 3), 1) == ((3, 3, 3), 2)
    assert dimension_after(lambda x: x.flatten(0, 1).reshape(3, 3, 3).mT, (3, 3, 3), 1) == (
        (3, 3, 3),
        2,
    )


def test_a_single_channel_is_anywhere():
    assert dimension_after(lambda x: x.flatten(1), (2, 1, 4), 1) is None
    assert dimension_after(lambda x: x.flatten(0, 1), (2, 4, 1), 2) == ((8, 1), 1)
