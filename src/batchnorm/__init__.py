"""Batch normalization for PyTorch: exact layers, surgery on models, and a lab that measures."""

from batchnorm import functional as functional
from batchnorm import integrations as integrations
from batchnorm import measure as measure
from batchnorm import nn as nn
from batchnorm import reference as reference
from batchnorm import surgery as surgery
from batchnorm._moments import Moments as Moments
from batchnorm.kernels import backend as backend
from batchnorm.surgery import adapt as adapt
from batchnorm.surgery import average_statistics as average_statistics
from batchnorm.surgery import convert as convert
from batchnorm.surgery import fold as fold
from batchnorm.surgery import freeze as freeze
from batchnorm.surgery import insert as insert
from batchnorm.surgery import no_decay_groups as no_decay_groups
from batchnorm.surgery import pool_statistics as pool_statistics
from batchnorm.surgery import recalibrate as recalibrate
from batchnorm.surgery import revert as revert
from batchnorm.surgery import unfreeze as unfreeze

__version__ = "0.1.0"
