"""Registry of the studies, by name."""

from pathlib import Path

from batchnorm.errors import OptionError
from batchnorm.lab.judging import _loading
from batchnorm.lab.judging._loading import Find
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.studies._batch_size import BATCH_SIZE
from batchnorm.lab.studies._convergence import CONVERGENCE
from batchnorm.lab.studies._covariate_shift import COVARIATE_SHIFT
from batchnorm.lab.studies._deep_chain import DEEP_CHAIN
from batchnorm.lab.studies._initialization import INITIALIZATION
from batchnorm.lab.studies._landscape import LANDSCAPE
from batchnorm.lab.studies._learning_rate import LEARNING_RATE
from batchnorm.lab.studies._noisy import NOISY
from batchnorm.lab.studies._norms import NORMS
from batchnorm.lab.studies._outside_gradient import OUTSIDE_GRADIENT
from batchnorm.lab.studies._regularization import REGULARIZATION
from batchnorm.lab.studies._saturating import SATURATING
from batchnorm.lab.studies._scale_invariance import SCALE_INVARIANCE

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        CONVERGENCE,
        LEARNING_RATE,
        SATURATING,
        INITIALIZATION,
        REGULARIZATION,
        BATCH_SIZE,
        SCALE_INVARIANCE,
        OUTSIDE_GRADIENT,
        DEEP_CHAIN,
        COVARIATE_SHIFT,
        LANDSCAPE,
        NOISY,
        NORMS,
    )
}


def get(name: str) -> Study:
    """Return the study called `name`.

    Raises:
        OptionError: there is none.
    """
    if name not in STUDIES:
        known = ", ".join(STUDIES)
        raise OptionError(
            f"needed a study out of {known}, got {name!r}: see `batchnorm study list`"
        )
    return STUDIES[name]


def load(path: Path, find: Find | None = None) -> Results:
    """Read a run folder.

    Args:
        path: the folder.
        find: returns the study of a name; `None` knows the studies of this registry.

    Returns:
        What it holds, damage listed and left out.

    Raises:
        RunError: it is no run folder, its configuration is damaged, or no trial has ended.
    """
    return _loading.load(path, find or get)
