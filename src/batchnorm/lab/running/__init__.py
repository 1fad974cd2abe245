"""Running of studies: trials in worker processes, resumable, recorded in a run folder."""

from batchnorm.lab.running.engine import Outcome as Outcome
from batchnorm.lab.running.engine import Progress as Progress
from batchnorm.lab.running.engine import run as run
from batchnorm.lab.running.measuring import Measuring as Measuring
from batchnorm.lab.running.options import Options as Options
from batchnorm.lab.running.options import default_folder as default_folder
from batchnorm.lab.running.options import settle as settle
from batchnorm.lab.running.store import RunFolder as RunFolder
from batchnorm.lab.running.training import Training as Training
