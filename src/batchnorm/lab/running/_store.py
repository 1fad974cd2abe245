"""Run folder: its files, and writing them so that an interruption harms nothing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchnorm._pages import (
    append_whole,
    parse_json,
    read_plain,
    reason,
    unwritten,
    write_atomically,
)
from batchnorm.errors import RunError
from batchnorm.lab.design import Experiment, Plan, Trial
from batchnorm.lab.records import Damage, History, TrialFiles, odd, usual

Json = dict[str, Any]


def damaged(path: Path, why: str) -> RunError:
    """Return the error that says what is wrong with a file of a run."""
    return RunError(f"{path} is damaged ({why}): give --out another folder, or remove this one")


class RunFolder:
    """A folder with one run of one study.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = path / "trials"
        self.report = path / "report.html"

    def create(self) -> None:
        """Make the folder.

        Raises:
            RunError: it cannot be made.
        """
        try:
            self.trials.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.path} cannot be made a run folder ({error.strerror}): "
                "give --out a folder that can be written"
            ) from error

    def tidy(self) -> None:
        """Remove what a run that was killed while writing left behind."""
        for path in self.trials.glob(".*"):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritten(path, error) from error

    def read_json(self, name: str) -> Json | None:
        """Return a file's content, or `None` when there is no such file.

        Raises:
            RunError: it is not a JSON object.
        """
        path = self.path / name
        try:
            content = parse_json(read_plain(path))
        except (FileNotFoundError, NotADirectoryError) as error:
            if not path.is_symlink():
                return None
            raise damaged(path, reason(error)) from error
        except OSError as error:
            raise damaged(path, reason(error)) from error
        except ValueError as error:
            raise damaged(path, str(error)) from error
        if not isinstance(content, dict):
            raise damaged(path, f"it needs a JSON object, and holds a {type(content).__name__}")
        return content

    def write_json(self, name: str, content: Json) -> None:
        """Write a file of the run atomically."""
        write_atomically(self.path / name, (json.dumps(content, indent=2) + "\n").encode())

    def append_timing(self, trial: Trial, seconds: float) -> None:
        """Note how long a trial took, outside its record, which must not depend on the clock."""
        line = json.dumps({"trial": trial.id, "seconds": round(seconds, 3)}) + "\n"
        append_whole(self.path / "timings.jsonl", line.encode())

    def log(self, trial: Trial) -> TrialFiles:
        """Return the files of one trial."""
        return TrialFiles(self.trials, trial.id)

    def histories(self, experiment: Experiment, plan: Plan) -> Iterator[tuple[Trial, History]]:
        """Yield every trial with what there is of it.

        A value of another kind than the other trials recorded is damage.
        """
        trials = experiment.trials(plan)
        found = [self._history(experiment, plan, trial) for trial in trials]
        entries = (entry for history in found for entry in history.evaluations)
        kinds = usual(entries, experiment.work.fields)
        for trial, history in zip(trials, found, strict=True):
            wrong = odd(history.evaluations, kinds)
            if history.end is not None and not history.evaluations:
                wrong = 1, "the trial ends without an evaluation"
            if wrong is not None:
                damage = history.damage or Damage(f"{self.trials.name}/{trial.id}.jsonl", *wrong)
                yield trial, replace(history, end=None, damage=damage)
            else:
                yield trial, history

    def _history(self, experiment: Experiment, plan: Plan, trial: Trial) -> History:
        """Read what there is of a trial."""
        work = experiment.work
        steps = work.schedule(plan, trial)
        return self.log(trial).history(steps, work.fields, weights=work.keeps_weights)
