"""Registry of the studies, by name."""

from pathlib import Path

from batchnorm.errors import OptionError
from batchnorm.lab.judging import loading
from batchnorm.lab.judging.loading import Find
from batchnorm.lab.judging.results import Results, Study
from batchnorm.lab.studies.batch_size import BATCH_SIZE
from batchnorm.lab.studies.convergence import CONVERGENCE
from batchnorm.lab.studies.covariate_shift import COVARIATE_SHIFT
from batchnorm.lab.studies.deep_chain import DEEP_CHAIN
from batchnorm.lab.studies.initialization import INITIALIZATION
from batchnorm.lab.studies.landscape import LANDSCAPE
from batchnorm.lab.studies.learning_rate import LEARNING_RATE
from batchnorm.lab.studies.noisy import NOISY
from batchnorm.lab.studies.norms import NORMS
from batchnorm.lab.studies.outside_gradient import OUTSIDE_GRADIENT
from batchnorm.lab.studies.regularization import REGULARIZATION
from batchnorm.lab.studies.saturating import SATURATING
from batchnorm.lab.studies.scale_invariance import SCALE_INVARIANCE

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


def load(path: Path, find: Find | None = None) -> Results:
    """Read a run folder.

    Args:
        path: The folder.
        find: Returns the study of a name; ``None`` knows the studies of this registry.

    Returns:
        What it holds, damage listed and left out.

    Raises:
        RunError: It is no run folder, its configuration is damaged, or no trial has ended.
    """
    return loading.load(path, find or get)
