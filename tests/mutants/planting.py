"""Plants one bug at a time in a copy of the house, and sees whether its tests notice."""

import os
import queue
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mutants.table import Mutant

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("src", "tests", "docs", "benchmarks", "pyproject.toml", "README.md")
SECONDS = 600.0  # for one selection of tests
CAUGHT, SURVIVED, STALE, BROKEN = "caught", "SURVIVED", "STALE", "BROKEN"


class StaleError(Exception):
    """A row of the table does not fit the house as it stands."""


class Result(NamedTuple):
    """What became of a mutant: a verdict, where it was planted, and what to say about it."""

    mutant: Mutant
    verdict: str
    place: str = ""
    detail: str = ""


class Place(NamedTuple):
    """Where a mutant goes: a file, and the file of tests that must notice."""

    source: Path
    tests: Path


def texts(root: Path = ROOT) -> dict[Path, str]:
    """Return the source as it stands."""
    return {path: path.read_text("utf-8") for path in sorted((root / "src").rglob("*.py"))}


def place_of(mutant: Mutant, root: Path = ROOT, source: dict[Path, str] | None = None) -> Place:
    """Return where a mutant goes, wherever the files have been moved to.

    Raises:
        StaleError: its text does not occur exactly once, or its tests cannot be told.
    """
    counts = {path: text.count(mutant.old) for path, text in (source or texts(root)).items()}
    places = [path for path, count in counts.items() if count]
    if sum(counts.values()) != 1:
        raise StaleError(f"{mutant.old!r} occurs {sum(counts.values())} times in the source")
    tests = [p for p in (root / "tests").rglob("*.py") if p.as_posix().endswith("/" + mutant.tests)]
    if len(tests) != 1:
        raise StaleError(f"{mutant.tests} are {len(tests)} files of tests")
    return Place(places[0].relative_to(root), tests[0].relative_to(root))


@dataclass(frozen=True)
class House:
    """A copy of the house, in which tests run on what stands in it."""

    root: Path

    @classmethod
    def copy(cls, source: Path, to: Path) -> "House":
        """Copy what tests need; compiled kernels come along, because the times of files do."""
        for part in PARTS:
            if (source / part).is_dir():
                shutil.copytree(source / part, to / part)
            elif (source / part).exists():
                shutil.copy2(source / part, to / part)
        return cls(to)

    def run(self, command: Sequence[str], seconds: float = SECONDS) -> tuple[int | None, str]:
        """Return how a Python process ended in this house, or `None` where it did not in time."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.root / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",  # its times have whole seconds
        }
        try:
            done = subprocess.run(
                [sys.executable, *command], cwd=self.root, env=environment, timeout=seconds,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None, f"not done within {seconds:g} s"
        return done.returncode, done.stdout + done.stderr

    def test(self, mutant: Mutant, place: Place) -> tuple[int | None, str]:
        """Run the tests that must notice a mutant, up to the first failure."""
        options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line"]
        only = ["-k", mutant.only] if mutant.only else []
        return self.run(["-m", "pytest", *options, str(place.tests), *only])

    @contextmanager
    def planted(self, mutant: Mutant, place: Place) -> Iterator[None]:
        """Plant a bug, and take it out again, with the file's time as it was."""
        path = self.root / place.source
        before, times = path.read_text("utf-8"), path.stat()
        path.write_text(before.replace(mutant.old, mutant.new), "utf-8")
        try:
            yield
        finally:
            path.write_text(before, "utf-8")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def try_out(mutant: Mutant, house: House) -> Result:
    """Return whether the tests pass without the bug, and fail with it."""
    try:
        place = place_of(mutant, house.root)
    except StaleError as error:
        return Result(mutant, STALE, detail=str(error))
    where = place.source.as_posix().removeprefix("src/")
    code, output = house.test(mutant, place)
    if code != 0:
        return Result(mutant, BROKEN, where, f"without the bug: {last_line(output)}")
    with house.planted(mutant, place):
        code, output = house.test(mutant, place)
    verdicts = {0: SURVIVED, 1: CAUGHT}  # anything else: the tests did not even run
    return Result(mutant, verdicts.get(code, BROKEN), where, last_line(output))


def last_line(output: str) -> str:
    return next((line for line in reversed(output.splitlines()) if line.strip()), "")


def try_all(
    mutants: Sequence[Mutant], houses: Sequence[House], tell: Callable[[Result], None]
) -> list[Result]:
    """Try mutants in several houses at once; each result is told as soon as it is there."""
    free: queue.Queue[House] = queue.Queue()
    for house in houses:
        free.put(house)

    def one(mutant: Mutant) -> Result:
        house = free.get()
        try:
            result = try_out(mutant, house)
        finally:
            free.put(house)
        tell(result)
        return result

    with ThreadPoolExecutor(len(houses)) as pool:
        return list(pool.map(one, mutants))
