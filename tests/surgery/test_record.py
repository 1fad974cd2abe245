import json

import pytest
import torch
from torch import nn

import batchnorm.nn as ours
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.surgery import Change, Record, convert, fold, insert, revert

CHANGES = (
    Change("encoder.bn1", "folded", "into encoder.conv1", error=3e-7),
    Change("", "left alone", "it is the model itself"),
    Change("bn2", "folded"),
)


def test_what_was_done_and_what_was_left():
    record = Record("fold", CHANGES)
    assert record.done == (CHANGES[0], CHANGES[2])
    assert record.left == (CHANGES[1],)


def test_the_largest_error_is_of_the_layers_and_of_the_model():
    assert Record("fold", CHANGES).largest_error == 3e-7
    assert Record("fold", CHANGES, error=1e-6).largest_error == 1e-6
    assert Record("fold", CHANGES, error=1e-9).largest_error == 3e-7
    assert Record("fold", CHANGES[1:]).largest_error is None
    assert Record("fold", (), error=0.0).largest_error == 0.0


def test_it_prints_as_a_table_without_empty_columns():
    assert str(Record("fold", CHANGES)).splitlines() == [
        "fold: 2 done, 1 left alone, largest relative error 3e-07",
        "module       what        error  detail",
        "encoder.bn1  folded      3e-07  into encoder.conv1",
        "(the model)  left alone         it is the model itself",
        "bn2          folded",
    ]
    assert str(Record("fold", CHANGES[2:])).splitlines()[1:] == ["module  what", "bn2     folded"]
    assert str(Record("convert", ())) == "convert: 0 done, 0 left alone"


def test_json_holds_it():
    record = Record("fold", CHANGES, error=1e-6)
    found = json.loads(json.dumps(record.as_dict()))
    assert found.keys() == {"operation", "changes", "error", "note"}
    assert Record("fold", tuple(Change(**c) for c in found["changes"]), found["error"]) == record


@pytest.mark.parametrize(
    ("operation", "build", "words"),
    [
        (convert, nn.ReLU, "no batch normalization layers: batchnorm.insert"),
        (convert, lambda: ours.BatchNorm1d(3), "its 1 batch normalization layers are ours already"),
        (revert, lambda: nn.BatchNorm1d(3), "the model has no layers of batchnorm.nn"),
        (lambda m: fold(m, torch.ones(2, 3)), nn.ReLU, "no batch normalization layers:"),
    ],
)
def test_where_nothing_is_done_it_says_why(operation, build, words):
    record = operation(build())
    assert record.changes == ()
    assert words in record.note
    assert str(record).splitlines()[1] == f"({record.note})"


def convert_fused(model, x):
    return convert(model, fuse=True, example_inputs=x)


@pytest.mark.parametrize("operation", [fold, insert, convert_fused])
@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((torch.ones(2, 3), torch.ones(2)), "got 2 by place .*: give what goes .* without labels"),
        ({"x": torch.ones(2, 3)}, "forward, .input., got x= .missing a required argument: 'input'"),
        ((), "got none"),
    ],
)
def test_inputs_that_forward_does_not_take(operation, inputs, words):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU()).eval()
    with pytest.raises(OptionError, match=words):
        operation(model, inputs)
    assert type(model[1]) is nn.BatchNorm1d


@pytest.mark.parametrize("operation", [insert, convert_fused])
def test_inputs_that_the_model_does_not_run_with(operation):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU())
    with pytest.raises(SurgeryError, match="with which the model runs in training are needed, got"):
        operation(model, torch.ones(2, 4))
