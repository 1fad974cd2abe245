"""Optional packages: what is missing is told in one line, wherever it is needed."""

import subprocess
import sys

import pytest

from batchnorm._pages import require
from batchnorm.errors import MissingExtraError


def test_what_is_there_is_not_refused():
    require("a test", "json", "os.path")


def test_the_first_missing_package_is_named_as_pip_calls_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"^a test needs the package scikit-learn, .*x\]'$"):
        require("a test", "json", "sklearn", "no_such_package", extra="x")


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_the_command_without_its_packages_is_one_line_and_exit_2(package):
    code = (
        f"import sys; sys.modules[{package!r}] = None; from batchnorm.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"needs the package {package}, which is not installed: pip install" in done.stderr
