"""Records as JSON and as text."""

import json
import pickle

import pytest
import torch
from torch import nn

from batchnorm._model._record import Record
from batchnorm.measure import (
    Lanczos,
    activations,
    internal_covariate_shift,
    norms,
    sharpness,
    statistics_noise,
)
from batchnorm.measure._vectors import cosine, distance, norm


def records():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    x = torch.randn(8, 3)
    loss = {"forward": lambda m, x: m(x).sum(), "learning_rate": 0.1}
    yield internal_covariate_shift(model, x, **loss)
    yield norms(model, x, **loss)
    yield activations(model, x)
    yield statistics_noise(model, x.split(4))
    yield sharpness(
        model, [x], forward=lambda m, x: m(x).square().sum(), lanczos=Lanczos(vectors=True)
    )


def test_json_holds_every_field_and_property():
    for record in records():
        found = json.loads(json.dumps(record.as_dict(), allow_nan=False))
        assert set(found) == {name for name, _ in record.items()}
        for name, value in record.items():
            if isinstance(value, tuple) and value and isinstance(value[0], Record):
                assert found[name] == json.loads(json.dumps([row.as_dict() for row in value]))


def test_records_are_frozen_and_can_be_pickled():
    for record in records():
        assert pickle.loads(pickle.dumps(record)).as_dict() == record.as_dict()  # noqa: S301
        with pytest.raises(AttributeError):
            record.loss = 1.0


def test_text_is_a_table_without_tensors():
    shift, _, found, noise, sharp = map(str, records())
    assert sharp.splitlines()[-2].split() == ["value", "bound", "converged"]
    assert shift.splitlines()[1].split() == ["name", "gradient", "distance", "cosine", "relative"]
    assert len(found.splitlines()) == 1 + 1 + 3
    assert noise.splitlines()[0].split() == ["name", "batches", "count", "effective_count"]


def test_the_model_itself_has_a_name_in_the_text():
    layer = nn.BatchNorm1d(3)
    assert (
        str(statistics_noise(layer, torch.randn(8, 3).split(4)))
        .splitlines()[1]
        .startswith("(the model)")
    )


def test_vectors_are_measured_in_float64():
    tiny = torch.full((10_000,), 1e-30)
    assert norm([tiny]) == pytest.approx(1e-28, rel=1e-6)
    assert distance([tiny], [tiny]) == 0.0
    assert cosine([tiny], [-3 * tiny]) == pytest.approx(-1.0)
    assert cosine([tiny], [torch.zeros(10_000)]) != cosine([tiny], [tiny])
    large = torch.tensor([1e30, 1.0])
    assert norm([large, large]) == pytest.approx(2**0.5 * 1e30)
