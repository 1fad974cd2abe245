"""Insertion of batch normalization into a network that has none."""

from ._insert import insert as insert
