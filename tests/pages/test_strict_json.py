"""JSON is read as strictly as it is written."""

import json

import pytest

from batchnorm._pages import parse_json


@pytest.mark.parametrize("value", [None, 3, -0.5, "ü\u2028", [1, [2]], {"a": {"b": []}}, 1e308])
def test_what_json_writes_is_read(value):
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands there twice"),
        (b"[NaN]", "NaN is no number"),
        (b"-Infinity", "-Infinity is no number"),
        (b"1e999", "1e999 is too large"),
        (b"9" * 5_000, "4300"),
        (b"[" * 100_000, "nests too deep"),
        (b'{"a":' * 100_000, "nests too deep"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"\\ud800"', "not Unicode"),
        (b'{"\\udfff": 1}', "not Unicode"),
        (b"\0\0\0", "Expecting value"),
        (b"", "Expecting value"),
        (b'{"a": 1', "delimiter"),
    ],
)
def test_what_it_would_not_write_is_refused(content, words):
    with pytest.raises(ValueError, match=words):
        parse_json(content)
