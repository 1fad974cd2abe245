"""Batch normalization for PyTorch: exact layers, and a lab that measures what they do."""

from batchnorm import functional as functional
from batchnorm import nn as nn
from batchnorm import reference as reference
from batchnorm._moments import Moments as Moments
from batchnorm.kernels import backend as backend

__version__ = "0.1.0"
