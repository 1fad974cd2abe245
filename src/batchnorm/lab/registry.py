"""The studies that exist, by name."""

from ..errors import OptionError
from .studies.convergence import CONVERGENCE
from .study import Study

STUDIES: dict[str, Study] = {study.name: study for study in (CONVERGENCE,)}


def get(name: str) -> Study:
    """Return the study called ``name``.

    Raises:
        OptionError: There is none.
    """
    if name not in STUDIES:
        known = ", ".join(STUDIES)
        raise OptionError(
            f"needed a study out of {known}, got {name!r}: see `batchnorm study list`"
        )
    return STUDIES[name]
