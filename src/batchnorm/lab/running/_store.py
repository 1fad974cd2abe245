"""Run folder: its files, and writing them so that an interruption harms nothing."""

import json
from pathlib import Path
from typing import Any

from batchnorm._pages import write_atomically
from batchnorm.errors import RunError
from batchnorm.lab.design import Experiment, Plan, Trial
from batchnorm.lab.records import History, TrialFiles

Json = dict[str, Any]


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
            path.unlink(missing_ok=True)

    def read_json(self, name: str) -> Json | None:
        """Return a file's content, or `None` when there is no such file.

        Raises:
            RunError: it is not a JSON object.
        """
        path = self.path / name
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path} is damaged ({error}): give --out another folder, or remove this one"
            ) from error
        if not isinstance(content, dict):
            raise RunError(
                f"{path} is damaged: needed a JSON object, got {type(content).__name__}: "
                "give --out another folder, or remove this one"
            )
        return content

    def write_json(self, name: str, content: Json) -> None:
        """Write a file of the run atomically."""
        write_atomically(self.path / name, (json.dumps(content, indent=2) + "\n").encode())

    def append_timing(self, trial: Trial, seconds: float) -> None:
        """Note how long a trial took, outside its record, which must not depend on the clock."""
        with (self.path / "timings.jsonl").open("a") as file:
            file.write(json.dumps({"trial": trial.id, "seconds": round(seconds, 3)}) + "\n")

    def log(self, trial: Trial) -> TrialFiles:
        """Return the files of one trial."""
        return TrialFiles(self.trials, trial.id)

    def history(self, experiment: Experiment, plan: Plan, trial: Trial) -> History:
        """Read what there is of a trial."""
        work = experiment.work
        steps = work.schedule(plan, trial)
        return self.log(trial).history(steps, work.fields, weights=work.keeps_weights)
