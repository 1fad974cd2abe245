"""Insertion of batch normalization into a network that has none."""

from batchnorm.surgery._insert._insert import insert as insert
