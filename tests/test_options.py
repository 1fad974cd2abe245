"""`pytest --device` and `--dtype`: the table of cases on a device, or those of one dtype."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from support.layers.cases import CASES, NOT_EMPTY

ROOT = Path(__file__).parents[1]


@pytest.fixture
def conftest(request):
    plugins = request.config.pluginmanager.get_plugins()
    own = str(Path(__file__).with_name("conftest.py"))
    return next(each for each in plugins if getattr(each, "__file__", None) == own)


def collected(*options):
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    command += ["tests/test_ops.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_only_the_cases_of_a_dtype():
    done = collected("--device", "cpu", "--dtype", "float64")
    assert done.returncode == 0, done.stdout + done.stderr
    cases = [line for line in done.stdout.splitlines() if "::test_opcheck[" in line]
    assert len(cases) > 20
    assert all("-float64" in case for case in cases)
    assert "::test_statistics_carry_no_gradient" in done.stdout, "it has no case, and stays"


def test_a_bad_name_ends_with_a_usage_error():
    done = collected("--dtype", "float8")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--dtype must be one of float64, float32, float16, bfloat16, got 'float8'" in done.stderr


@pytest.mark.parametrize("name", ["abacus", "meta", "", "cuda:99"])
def test_a_device_that_cannot_compute_is_refused(conftest, name):
    with pytest.raises(pytest.UsageError, match=f"computes here, got '{name}'"):
        conftest._device(name)


def test_every_dtype_of_the_table_has_its_name(conftest):
    assert conftest._dtype(None) is None
    for dtype in {case.dtype for case in CASES}:
        assert conftest._dtype(str(dtype).removeprefix("torch.")) == dtype


def test_cases_are_made_on_the_device_of_the_run(request):
    device = torch.device(request.config.getoption("--device"))
    for case in NOT_EMPTY[::7]:
        assert case.device == case.x().device == case.dy().device == case.mask().device == device
