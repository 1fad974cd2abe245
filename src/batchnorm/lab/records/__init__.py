"""Records of trials on disk: lines with checksums, weights, checkpoints."""

from batchnorm.lab.records._files import TrialFiles as TrialFiles
from batchnorm.lab.records._kinds import odd as odd
from batchnorm.lab.records._kinds import usual as usual
from batchnorm.lab.records._lines import Damage as Damage
from batchnorm.lab.records._lines import Entry as Entry
from batchnorm.lab.records._lines import History as History
from batchnorm.lab.records._lines import finite as finite
