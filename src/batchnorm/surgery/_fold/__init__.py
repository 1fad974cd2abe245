"""Folding of batch normalization into linear maps."""

from ._fold import fold as fold
