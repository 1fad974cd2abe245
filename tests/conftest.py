import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from support.layers import cases
from support.tools.installed import let_torchvision_import

# The examples are the same in every run, so that a red build can be reproduced by its name alone.
settings.register_profile(
    "default", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="device of the table of cases (default: cpu)")
    parser.addoption("--dtype", help="run only the cases of this dtype, such as float64")


def pytest_configure(config):
    let_torchvision_import()
    cases.run_on(_device(config.getoption("--device")))
    _dtype(config.getoption("--dtype"))


def pytest_collection_modifyitems(config, items):
    dtype = _dtype(config.getoption("--dtype"))
    if dtype is None:
        return
    left_out = [item for item in items if getattr(_case(item), "dtype", dtype) != dtype]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def _case(item):
    return getattr(item, "callspec", None) and item.callspec.params.get("case")


def _device(name):
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise pytest.UsageError(
            f"--device must name a device that computes here, got {name!r}: {error}"
        ) from error
    return device


def _dtype(name):
    known = {str(dtype).removeprefix("torch."): dtype for dtype in cases.TOLERANCE}
    if name not in {None, *known}:
        raise pytest.UsageError(f"--dtype must be one of {', '.join(known)}, got {name!r}")
    return known.get(name)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 -- what hypothesis does not draw comes from one seed
