"""Folding of batch normalization into linear maps."""

from batchnorm.surgery._fold._fold import fold as fold
