"""The lab: measure what the literature claims that batch normalization does."""

from .engine import Options as Options
from .engine import Outcome as Outcome
from .engine import Progress as Progress
from .engine import run as run
from .measuring import Measuring as Measuring
from .own import Own as Own
from .plan import Plan as Plan
from .plan import Trial as Trial
from .plan import scale as scale
from .registry import STUDIES as STUDIES
from .registry import get as get
from .results import Results as Results
from .results import load as load
from .study import Arm as Arm
from .study import Study as Study
from .tasks import Task as Task
from .training import Training as Training
