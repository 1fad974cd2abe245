import json

from batchnorm.surgery import Change, Record

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
    assert found.keys() == {"operation", "changes", "error"}
    assert Record("fold", tuple(Change(**c) for c in found["changes"]), found["error"]) == record
