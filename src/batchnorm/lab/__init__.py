"""Lab: studies that measure what the literature claims that batch normalization does."""

from batchnorm.lab.design import Arm as Arm
from batchnorm.lab.design import Plan as Plan
from batchnorm.lab.design import Trial as Trial
from batchnorm.lab.design import scale as scale
from batchnorm.lab.judging._results import Results as Results
from batchnorm.lab.judging._results import Study as Study
from batchnorm.lab.networks import UserModel as UserModel
from batchnorm.lab.running import Measuring as Measuring
from batchnorm.lab.running import Options as Options
from batchnorm.lab.running import Outcome as Outcome
from batchnorm.lab.running import Progress as Progress
from batchnorm.lab.running import Training as Training
from batchnorm.lab.running import default_folder as default_folder
from batchnorm.lab.running import run as run
from batchnorm.lab.studies._registry import STUDIES as STUDIES
from batchnorm.lab.studies._registry import get as get
from batchnorm.lab.studies._registry import load as load
from batchnorm.lab.tasks import Task as Task
