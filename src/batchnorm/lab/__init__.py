"""The lab: measure what the literature claims that batch normalization does."""

from .engine import Options as Options
from .engine import Outcome as Outcome
from .engine import Progress as Progress
from .engine import run as run
from .registry import STUDIES as STUDIES
from .registry import get as get
from .results import Results as Results
from .results import load as load
from .study import Arm as Arm
from .study import Budget as Budget
from .study import Study as Study
from .study import Trial as Trial
from .tasks import Task as Task
