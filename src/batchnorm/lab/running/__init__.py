"""Running of studies: trials in worker processes, resumable, recorded in a run folder."""

from batchnorm.lab.running._engine import Outcome as Outcome
from batchnorm.lab.running._engine import Progress as Progress
from batchnorm.lab.running._engine import run as run
from batchnorm.lab.running._measuring import Measuring as Measuring
from batchnorm.lab.running._options import Options as Options
from batchnorm.lab.running._options import default_folder as default_folder
from batchnorm.lab.running._options import settle as settle
from batchnorm.lab.running._store import RunFolder as RunFolder
from batchnorm.lab.running._training import Training as Training
