"""Surgery: put batch normalization into a model, take it out, fold it away, re-estimate it.

Every operation checks all before the first change, changes the model in place, leaves it as it was
if anything fails, and returns a `Record`.
"""

from batchnorm.surgery._convert import convert as convert
from batchnorm.surgery._convert import revert as revert
from batchnorm.surgery._fold import fold as fold
from batchnorm.surgery._freeze import freeze as freeze
from batchnorm.surgery._freeze import unfreeze as unfreeze
from batchnorm.surgery._insert import insert as insert
from batchnorm.surgery._no_decay import no_decay_groups as no_decay_groups
from batchnorm.surgery._population import Adaptation as Adaptation
from batchnorm.surgery._population import adapt as adapt
from batchnorm.surgery._population import average_statistics as average_statistics
from batchnorm.surgery._population import pool_statistics as pool_statistics
from batchnorm.surgery._population import recalibrate as recalibrate
from batchnorm.surgery._record import Change as Change
from batchnorm.surgery._record import Record as Record
