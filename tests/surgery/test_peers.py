"""The table of docs/howto/recalibrate.md: what three tools make of the same data."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark():
    return runpy.run_path(str(ROOT / "benchmarks" / "recalibrate.py"))


@pytest.fixture(scope="module")
def rows(benchmark):
    return benchmark["rows"]()


def test_ours_is_right_in_every_case(benchmark, rows):
    assert all(found[0] == right for _, right, found in rows)


def test_the_documentation_has_these_numbers(benchmark, rows):
    """Ours exactly; of the others, whose digits depend on the processor, which are wrong."""
    text = (ROOT / "docs" / "howto" / "recalibrate.md").read_text()
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:2] == "| "]
    assert len(lines) == 1 + len(rows)
    for (case, right, ours, *others), row in zip(lines[1:], rows, strict=True):
        assert (case, right, ours) == (row.case, row.right, row.found[0])
        wrong = [not benchmark["is_right"](found, right) for found in row.found[1:]]
        assert [other.startswith("**") for other in others] == wrong, case
        assert any(wrong), case
