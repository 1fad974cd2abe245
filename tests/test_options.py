"""`pytest --device` and `--dtype`: the table of cases on a device, or those of one dtype."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from support.layers.cases import CASES, NOT_EMPTY, Case


@pytest.fixture
def conftest(request):
    plugins = request.config.pluginmanager.get_plugins()
    own = str(Path(__file__).with_name("conftest.py"))
    return next(each for each in plugins if getattr(each, "__file__", None) == own)


class Run:
    """What the hook asks of a run of pytest, with ``--dtype`` given."""

    def __init__(self, dtype):
        self.dtype, self.hook, self.deselected = dtype, self, []

    def getoption(self, name):
        return {"--dtype": self.dtype}[name]

    def pytest_deselected(self, items):
        self.deselected += items


class Item:
    def __init__(self, **params):
        if params:
            self.callspec = SimpleNamespace(params=params)


def test_only_the_cases_of_a_dtype(conftest):
    kept = [Item(case=Case((6, 3))), Item(), Item(layer=3), Item(case="of another table")]
    left = [
        Item(case=Case((6, 3), dtype=torch.bfloat16)),
        Item(case=Case((6, 3), dtype=torch.float16), n=2),
    ]
    run, items = Run("float64"), [kept[0], left[0], *kept[1:], left[1]]
    conftest.pytest_collection_modifyitems(run, items)
    assert items == kept
    assert run.deselected == left
    run = Run(None)
    conftest.pytest_collection_modifyitems(run, items)
    assert (items, run.deselected) == (kept, [])


def test_a_bad_name_is_a_usage_error(conftest):
    words = "--dtype must be one of float64, float32, float16, bfloat16, got 'float8'"
    with pytest.raises(pytest.UsageError, match=words):
        conftest._dtype("float8")


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
