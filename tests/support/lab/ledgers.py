"""A ledger of three small studies, made by the real thing; and a registry that holds only those."""

from dataclasses import replace

import pytest

from batchnorm import lab
from batchnorm.lab import ledger
from batchnorm.lab.report import _claims_page as page

FEW = ("convergence", "scale-invariance", "outside-gradient")


def keep(patch, names=FEW):
    """Leave only some studies in the registry; undone, they stand in their order again.

    What was deleted comes back in the reverse order of its deletion, so all have to be.
    """
    kept = {name: study for name, study in lab.STUDIES.items() if name in names}
    for name in reversed([*lab.STUDIES]):
        patch.delitem(lab.STUDIES, name)
    for name, study in kept.items():
        patch.setitem(lab.STUDIES, name, study)


@pytest.fixture
def few(monkeypatch):
    keep(monkeypatch)


@pytest.fixture(scope="session")
def ledger_options():
    def make(out, **more):
        asked = {"scale": "quick", "seeds": 1, "steps": 5, "jobs": 1, **more}
        return replace(lab.Options(out), **asked)

    return make


@pytest.fixture(scope="session")
def small_ledger(tmp_path_factory, ledger_options):
    """The folder of a whole ledger: one seed, five steps."""
    out = tmp_path_factory.mktemp("ledger") / "all"
    with pytest.MonkeyPatch.context() as patch:
        keep(patch)
        for ended in ledger.run(ledger_options(out), lambda *_: None):
            page.write(ended.ledger, [ended.part])
    return out
