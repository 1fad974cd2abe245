"""Population statistics: recalibrated, adapted to other data, averaged."""

from ._adapt import Adaptation as Adaptation
from ._adapt import adapt as adapt
from ._average import average_statistics as average_statistics
from ._recalibrate import recalibrate as recalibrate
