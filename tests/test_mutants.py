"""The planted bugs of `make mutants` fit the house as it stands, and the runner sees all ends."""

import ast

import pytest

from mutants.planting import (
    BROKEN,
    CAUGHT,
    ROOT,
    STALE,
    SURVIVED,
    House,
    StaleError,
    place_of,
    texts,
    try_all,
    try_out,
)
from mutants.table import MUTANTS, Mutant

SOURCE = texts()


def test_there_are_many_and_each_has_its_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_no_mutant_is_stale(mutant):
    place = place_of(mutant, source=SOURCE)
    text = SOURCE[ROOT / place.source]
    changed = text.replace(mutant.old, mutant.new)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))


class SmallHouse(House):
    """Runs its one test without a process, and ends as pytest does."""

    def test(self, mutant, place):  # noqa: ARG002 -- as its parent
        names = {}
        try:
            exec((self.root / place.source).read_text(), names)  # noqa: S102 -- written below
        except ZeroDivisionError:
            return 2, "no test could be collected"
        exec((self.root / place.tests).read_text(), names)  # noqa: S102
        return (0, "passed") if names["passes"]() else (1, "failed")


@pytest.fixture
def house(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "src/sums.py").write_text("def add(a, b):\n    return a + b\n\n\nZERO = 0\n")
    (tmp_path / "tests/test_sums.py").write_text("passes = lambda: add(2, 2) == 4")
    return SmallHouse(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("a + b", "a - b", CAUGHT),
        ("a + b", "a * b", SURVIVED),
        ("ZERO = 0", "ZERO = 1 / 0", BROKEN),  # nothing was tested
        ("a", "b", STALE),
        ("a + c", "a - c", STALE),
    ],
)
def test_the_runner_tells(house, old, new, verdict):
    before = (house.root / "src/sums.py").read_text()
    result = try_out(Mutant("name", old, new, "test_sums.py", "why"), house)
    assert result.verdict == verdict
    assert (house.root / "src/sums.py").read_text() == before


def test_tests_that_fail_without_the_bug_prove_nothing(house):
    (house.root / "tests/test_sums.py").write_text("passes = lambda: False")
    result = try_out(Mutant("name", "a + b", "a - b", "test_sums.py", "why"), house)
    assert result.verdict == BROKEN
    assert "without the bug" in result.detail


def test_tests_that_cannot_be_told_are_refused(house):
    with pytest.raises(StaleError, match="0 files of tests"):
        place_of(Mutant("name", "a + b", "a - b", "test_other.py", "why"), house.root)


def test_several_are_tried_and_told(house):
    mutants = [Mutant(n, "a + b", n, "test_sums.py", "why") for n in ("a - b", "a * b")]
    told = []
    results = try_all(mutants, [house], told.append)
    assert [result.verdict for result in results] == [CAUGHT, SURVIVED]
    assert told == results


@pytest.mark.slow
def test_a_mutant_of_the_table_is_caught_in_a_copy(tmp_path):
    house = House.copy(ROOT, tmp_path)
    mutant = next(m for m in MUTANTS if m.tests == "test_moments.py")
    assert try_out(mutant, house).verdict == CAUGHT
