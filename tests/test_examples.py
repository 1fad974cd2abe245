"""The examples run, as their first lines say."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = ("--quick", "--seeds", "1", "--steps", "15", "--set", "rate=0.1", "--jobs", "1")


@pytest.mark.parametrize(
    "study", ["landscape", pytest.param("covariate-shift", marks=pytest.mark.slow)]
)
def test_a_model_of_ones_own_is_measured_by_one_command(tmp_path, study):
    names = ("--model", "own_model:network", "--data", "own_model:batches")
    command = (sys.executable, "-m", "batchnorm", "study", "run", study)
    subprocess.run(
        [*command, *names, *SMALL, "--out", str(tmp_path / "run")], cwd=EXAMPLES, check=True
    )
    page = (tmp_path / "run" / "report.html").read_text()
    assert "own_model:network" in page
