"""Output files of a benchmark: checked before time is spent, written whole or not at all."""

from dataclasses import dataclass
from pathlib import Path

from batchnorm._pages import obstacle, write_atomically
from batchnorm.bench import _page
from batchnorm.bench._measurements import Benchmark, to_json
from batchnorm.errors import OptionError


@dataclass(frozen=True)
class Output:
    """Where to write.

    Args:
        json: the document with every measurement, or `None`.
        html: the page, or `None`.
    """

    json: Path | None = None
    html: Path | None = None

    def check(self) -> None:
        """Check that all can be written.

        Raises:
            OptionError: a path is a folder, or its folder is missing or cannot be written; or both
                are the same.
            MissingExtraError: the page needs a package that is not installed.
        """
        for option, path in (("--json", self.json), ("--html", self.html)):
            why = None if path is None else obstacle(path)
            if why is not None:
                raise OptionError(
                    f"{option} needs a file in a folder that can be written, got {path} ({why}): "
                    "give another file, or mend that"
                )
        if self.json is not None and self.json == self.html:
            raise OptionError(f"--json and --html need two files, got {self.json} for both")
        if self.html is not None:
            _page.require()

    def write(self, record: Benchmark) -> tuple[Path, ...]:
        """Write what was asked for.

        Returns:
            The files.

        Raises:
            RunError: one cannot be written.
        """
        written = []
        for path, content in ((self.json, to_json), (self.html, _page.render)):
            if path is None:
                continue
            write_atomically(path, content(record).encode())
            written.append(path)
        return tuple(written)
