"""Records of trials on disk: lines with checksums, weights, checkpoints."""

from batchnorm.lab.records.files import TrialFiles as TrialFiles
from batchnorm.lab.records.lines import Damage as Damage
from batchnorm.lab.records.lines import Entry as Entry
from batchnorm.lab.records.lines import History as History
from batchnorm.lab.records.lines import finite as finite
