import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchnorm.lab.records import _lines

FIELDS = ("step", "loss")
SCHEDULE = (0, 5, 10)
VALUES = st.dictionaries(
    st.text(max_size=8),
    st.one_of(
        st.none(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    ),
)


def written(*steps, end=None):
    content = [_lines.encode({"step": step, "loss": 1 / 3}) for step in steps]
    return "".join(content + ([_lines.encode({"end": end, "step": 10})] if end else []))


def read(path):
    return _lines.read(path, path.name, SCHEDULE, FIELDS)


@given(VALUES)
def test_a_record_comes_back_as_it_was(record):
    line = _lines.encode(record)
    assert line.count("\n") == 1
    assert json.loads(line)["crc32"] if record else True
    assert _lines.decode(line[:-1]) == record


@given(st.integers(0, 60), st.integers(1, 255))
def test_one_changed_byte_is_found(place, change):
    line = bytearray(_lines.encode({"step": 5, "loss": 0.123456789})[:-1].encode())
    line[place % len(line)] ^= change
    with pytest.raises((ValueError, TypeError)):
        _lines.decode(bytes(line).decode("utf-8"))


def test_a_whole_record_is_read(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(written(0, 5, 10, end="finished"))
    history = read(path)
    assert [e["step"] for e in history.evaluations] == [0, 5, 10]
    assert history.end["end"] == "finished"
    assert history.damage is None


def test_a_torn_last_line_is_an_interruption_and_no_damage(tmp_path):
    path = tmp_path / "t.jsonl"
    for cut in range(1, len(written(10))):
        path.write_text(written(0, 5, 10)[:-cut])
        history = read(path)
        assert len(history.evaluations) == 2
        assert history.damage is None


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (written(0) + "{}\n" + written(10), 2, "checksum"),
        (written(0, 5) + "\xff\n", 3, "checksum"),
        (written(0, 10), 2, "expected the evaluation at 5, got step 10"),
        (written(0, 5, 10, 15), 4, "expected the evaluation at the end"),
        (written(0, 5, end="finished"), 3, "3 evaluations needed before the end, 2 came"),
        (written(0, 5, 10, end="finished") + written(0), 5, "follows the end"),
        (_lines.encode({"step": 0}), 1, "has no loss"),
    ],
)
def test_damage_is_found_with_its_line(tmp_path, content, line, words):
    path = tmp_path / "t.jsonl"
    path.write_text(content)
    history = read(path)
    assert history.end is None
    assert history.damage.line == line
    assert words in str(history.damage)
    assert str(history.damage).startswith(f"t.jsonl, line {line}: ")


def test_a_missing_file_is_an_empty_history(tmp_path):
    assert read(tmp_path / "none") == _lines.History((), None, None)
