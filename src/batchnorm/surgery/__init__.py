"""Surgery: put batch normalization into a model, take it out, fold it away, re-estimate it.

Every operation checks all before the first change, changes the model in place, leaves it as it was
if anything fails, and returns a `Record`.
"""

from ._convert import convert as convert
from ._convert import revert as revert
from ._fold import fold as fold
from ._freeze import freeze as freeze
from ._freeze import unfreeze as unfreeze
from ._insert import insert as insert
from ._no_decay import no_decay_groups as no_decay_groups
from ._population import Adaptation as Adaptation
from ._population import adapt as adapt
from ._population import average_statistics as average_statistics
from ._population import recalibrate as recalibrate
from ._record import Change as Change
from ._record import Record as Record
