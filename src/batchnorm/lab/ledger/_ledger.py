"""Ledger: every study in one folder, and the verdicts of each."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchnorm._pages import reason, write_atomically
from batchnorm.errors import RunError
from batchnorm.lab.judging._findings import Findings, Outcome, Verdict
from batchnorm.lab.judging._loading import judging
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.running._store import RunFolder, damaged
from batchnorm.lab.studies import _registry

ALL = "all"
OUTCOMES: tuple[Outcome, ...] = ("reproduced", "mixed", "contradicted", "cannot be told")
_FORMAT = 1
_NAME = "ledger.json"


@dataclass(frozen=True)
class Part:
    """One study of a ledger.

    Args:
        study: the study.
        results: its run, or `None` where there are no results yet.
        findings: what it found.
        reason: why there are no results.
    """

    study: Study
    results: Results | None = None
    findings: Findings | None = None
    reason: str = ""

    @property
    def gaps(self) -> str:
        """What is missing of a run that has results, in words; empty when it is complete."""
        if self.results is None:
            return ""
        unfinished, damaged = len(self.results.unfinished), len(self.results.damage)
        words = [f"{unfinished} trials have not ended."] if unfinished else []
        words += [f"{damaged} files or lines are damaged."] if damaged else []
        return " ".join(words)


@dataclass(frozen=True)
class Judgement:
    """Verdict of one study on one claim, with the study and its results.

    Args:
        verdict: the verdict.
        study: the study.
        results: its run.
        findings: all that the study found.
    """

    verdict: Verdict
    study: Study
    results: Results
    findings: Findings


@dataclass(frozen=True)
class Ledger:
    """The studies of one folder.

    Args:
        path: the folder.
        command: the command that makes it.
        asked: what decides the records of all of them, by the name of the option.
        parts: every study, in the order of the registry.
    """

    path: Path
    command: str
    asked: Mapping[str, Any]
    parts: tuple[Part, ...]

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every verdict, by the number of the claim."""
        found = [
            Judgement(verdict, part.study, part.results, part.findings)
            for part in self.parts
            if part.results is not None and part.findings is not None
            for verdict in part.findings.verdicts
        ]
        return tuple(sorted(found, key=lambda one: int(one.verdict.claim.removeprefix("C"))))

    @property
    def missing(self) -> tuple[Part, ...]:
        """The studies that have no results yet."""
        return tuple(part for part in self.parts if part.findings is None)

    @property
    def partial(self) -> tuple[Part, ...]:
        """The studies of which a part is missing."""
        return tuple(part for part in self.parts if part.gaps)

    def count(self, outcome: Outcome) -> int:
        """Return how many verdicts have an outcome."""
        return sum(one.verdict.outcome == outcome for one in self.judgements)


@dataclass(frozen=True)
class Neighbours:
    """The studies with a report beside a run in a ledger.

    Args:
        previous: the study before it that has a report, or `None`.
        next: the study after it that has one.
    """

    previous: Study | None
    next: Study | None


def claim(path: Path, command: str, asked: Mapping[str, Any]) -> Ledger:
    """Make the folder of a ledger, or check that it is the one that is asked for.

    Args:
        path: the folder.
        command: the command that makes it.
        asked: what decides the records.

    Raises:
        RunError: it holds something else, or cannot be written.
    """
    existing = _read(path)
    if existing is None:
        _make(path, {"format": _FORMAT, "command": command, "asked": asked})
        return load(path)
    for key, value in asked.items():
        before = existing["asked"].get(key)
        if before != value:
            raise RunError(
                f"{path} holds a run of all studies with {key} = {before}, this command has "
                f"{key} = {value}: give the same settings to go on, or another --out"
            )
    return load(path)


def load(path: Path) -> Ledger:
    """Read the folder of a ledger, whatever is there of it.

    Args:
        path: the folder.

    Raises:
        RunError: it is no such folder, or its description is damaged.
    """
    content = _read(path)
    if content is None:
        raise RunError(
            f"{path} is not a folder of all studies: needed a {_NAME} in it, found none: give the "
            f"folder that `batchnorm study run {ALL}` wrote"
        )
    asked, studies = content["asked"], _registry.STUDIES.values()
    parts = tuple(
        read(path, study)
        if any(scale == asked.get("scale") for _, scale in study.plans)
        else Part(study, reason=f"It has no plan of the scale {asked.get('scale')}.")
        for study in studies
    )
    return Ledger(path, content["command"], asked, parts)


def holds(path: Path) -> bool:
    """Return whether a folder is that of a ledger."""
    return os.path.lexists(path / _NAME)


def read(path: Path, study: Study) -> Part:
    """Return what one study of a ledger found, or why it has no results.

    Args:
        path: the folder of the ledger.
        study: the study.
    """
    folder = path / study.name
    if not os.path.lexists(folder / "config.json"):
        return Part(study, reason="It has not started.")
    try:
        found = _registry.load(folder)
        if found.study.name != study.name:
            raise damaged(folder / "config.json", f"it is of the study {found.study.name}")
        with judging(folder):
            return Part(study, found, found.study.findings(found))
    except RunError as error:
        return Part(study, reason=f"{error}.")


def neighbours(run: Path) -> Neighbours | None:
    """Return the neighbours of a run folder in a ledger, or `None` where it is in none."""
    if not holds(run.parent) or run.name not in _registry.STUDIES:
        return None
    reported = [
        study
        for name, study in _registry.STUDIES.items()
        if name == run.name or RunFolder(run.parent / name).report.is_file()
    ]
    at = reported.index(_registry.STUDIES[run.name])
    return Neighbours(
        reported[at - 1] if at > 0 else None,
        reported[at + 1] if at + 1 < len(reported) else None,
    )


def _make(path: Path, content: Mapping[str, Any]) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(
            f"{path} exists and is not a folder of all studies (it has no {_NAME}): give --out a "
            "new or empty folder"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{path} cannot be made a folder of all studies ({reason(error)}): give --out a "
            "folder that can be written"
        ) from error
    write_atomically(path / _NAME, (json.dumps(content, indent=2) + "\n").encode())


def _read(path: Path) -> dict[str, Any] | None:
    content = RunFolder(path).read_json(_NAME) if holds(path) else None
    if content is None:
        return None
    if content.get("format") != _FORMAT:
        raise RunError(
            f"{path / _NAME} is in format {content.get('format')!r:.40}, this version of batchnorm "
            f"reads format {_FORMAT}: run all studies again into another --out"
        )
    asked, command = content.get("asked"), content.get("command")
    if not isinstance(command, str) or not isinstance(asked, dict):
        raise damaged(path / _NAME, "it needs a command and what was asked for")
    wrong = next((key for key, value in asked.items() if not _is_option(value)), None)
    if wrong is not None:
        raise damaged(path / _NAME, f"{wrong} cannot be {asked[wrong]!r:.60}")
    return content


def _is_option(value: Any) -> bool:
    return value is None or type(value) in {int, str}
