"""Design of a study: its arms, its plan, its trials, the claims that it judges."""

from batchnorm.lab.design._claims import CLAIMS as CLAIMS
from batchnorm.lab.design._experiment import Arm as Arm
from batchnorm.lab.design._experiment import Experiment as Experiment
from batchnorm.lab.design._experiment import Job as Job
from batchnorm.lab.design._experiment import Network as Network
from batchnorm.lab.design._experiment import Work as Work
from batchnorm.lab.design._plan import SCALES as SCALES
from batchnorm.lab.design._plan import Plan as Plan
from batchnorm.lab.design._plan import Scale as Scale
from batchnorm.lab.design._plan import Settings as Settings
from batchnorm.lab.design._plan import Trial as Trial
from batchnorm.lab.design._plan import by_task as by_task
from batchnorm.lab.design._plan import on_images as on_images
from batchnorm.lab.design._plan import scale as scale
