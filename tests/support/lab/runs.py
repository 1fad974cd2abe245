"""Runs and data that the tests of the lab and of the command line share."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from batchnorm import lab

STEPS = 20

_STUDY = lab.get("convergence")
TRIALS = len(_STUDY.trials(replace(_STUDY.plan("digits", "quick"), seeds=1)))


@pytest.fixture(scope="session")
def small_options():
    def make(out, **more):
        return lab.Options(out=out, scale="quick", seeds=1, steps=STEPS, **{"jobs": 1, **more})

    return make


@pytest.fixture(scope="session")
def small_run(tmp_path_factory, small_options):
    """A whole run of the convergence study, small: one seed, twenty steps, on digits."""
    out = tmp_path_factory.mktemp("small") / "run"
    lab.run(lab.get("convergence"), small_options(out), lambda _: None)
    return out


@pytest.fixture(scope="session")
def data():
    beside = Path(__file__).parents[4] / "shared" / "data"  # what CI has beside the checkout
    folder = Path(os.environ.get("BATCHNORM_DATA", beside))
    if not (folder / "mnist").is_dir():
        pytest.skip(f"no {folder / 'mnist'}: set BATCHNORM_DATA to a folder with IDX files in it")
    return folder


@pytest.fixture(scope="session")
def records():
    def read(run):
        return {path.name: path.read_bytes() for path in sorted((run / "trials").iterdir())}

    return read
