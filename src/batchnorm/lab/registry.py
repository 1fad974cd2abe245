"""The studies that exist, by name."""

from ..errors import OptionError
from .study import Study
from .studies.convergence import CONVERGENCE

STUDIES: dict[str, Study] = {study.name: study for study in (CONVERGENCE,)}


def get(name: str) -> Study:
    """Return the study called ``name``.

    Raises:
        OptionError: There is none.
    """
    if name not in STUDIES:
        known = ", ".join(STUDIES)
        raise OptionError(f"needed a study out of {known}, got {name!r}: see `batchnorm study list`")
    return STUDIES[name]
