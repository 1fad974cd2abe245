import sys

import pytest

from support.lab.ledgers import few, ledger_options
from support.lab.runs import data, records, small_options, small_run

__all__ = ["data", "few", "ledger_options", "records", "small_options", "small_run"]


@pytest.fixture
def placed(tmp_path, monkeypatch):
    """Put a module of the user's into an empty current folder, and forget it in the end."""
    monkeypatch.chdir(tmp_path)
    names = []

    def place(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        names.append(name)
        return tmp_path

    yield place
    for name in names:
        sys.modules.pop(name, None)
