"""Population statistics: recalibrated, adapted to other data, averaged, pooled."""

from batchnorm.surgery._population._adapt import Adaptation as Adaptation
from batchnorm.surgery._population._adapt import adapt as adapt
from batchnorm.surgery._population._average import average_statistics as average_statistics
from batchnorm.surgery._population._pool import pool_statistics as pool_statistics
from batchnorm.surgery._population._recalibrate import recalibrate as recalibrate
