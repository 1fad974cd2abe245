"""The report of a run: one HTML file that needs nothing else."""

from .build import build as build
from .build import require as require
