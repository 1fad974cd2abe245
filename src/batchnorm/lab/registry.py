"""The studies that exist, by name."""

from ..errors import OptionError
from .studies.batch_size import BATCH_SIZE
from .studies.convergence import CONVERGENCE
from .studies.covariate_shift import COVARIATE_SHIFT
from .studies.deep_chain import DEEP_CHAIN
from .studies.initialization import INITIALIZATION
from .studies.landscape import LANDSCAPE
from .studies.learning_rate import LEARNING_RATE
from .studies.noisy import NOISY
from .studies.norms import NORMS
from .studies.outside_gradient import OUTSIDE_GRADIENT
from .studies.regularization import REGULARIZATION
from .studies.saturating import SATURATING
from .studies.scale_invariance import SCALE_INVARIANCE
from .study import Study

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
