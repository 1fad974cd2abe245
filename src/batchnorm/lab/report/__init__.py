"""The report of a run: one HTML file that needs nothing else."""

from batchnorm.lab.report.build import build as build
from batchnorm.lab.report.build import require as require
