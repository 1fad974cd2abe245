"""Conversion: layers of torch and of other packages become ours, and ours torch's."""

from batchnorm.surgery._convert._convert import convert as convert
from batchnorm.surgery._convert._revert import revert as revert
