"""HTML pages: the report of a run, and the page of all claims; each needs nothing else."""

from batchnorm.lab.report._study_page import build as build
from batchnorm.lab.report._study_page import require as require
