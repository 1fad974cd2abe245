"""The lab: measure what the literature claims that batch normalization does."""

from batchnorm.lab.engine import Options as Options
from batchnorm.lab.engine import Outcome as Outcome
from batchnorm.lab.engine import Progress as Progress
from batchnorm.lab.engine import run as run
from batchnorm.lab.measuring import Measuring as Measuring
from batchnorm.lab.own import Own as Own
from batchnorm.lab.plan import Plan as Plan
from batchnorm.lab.plan import Trial as Trial
from batchnorm.lab.plan import scale as scale
from batchnorm.lab.registry import STUDIES as STUDIES
from batchnorm.lab.registry import get as get
from batchnorm.lab.results import Results as Results
from batchnorm.lab.results import load as load
from batchnorm.lab.study import Arm as Arm
from batchnorm.lab.study import Study as Study
from batchnorm.lab.tasks import Task as Task
from batchnorm.lab.training import Training as Training
