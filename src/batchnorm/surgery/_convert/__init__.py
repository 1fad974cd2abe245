"""Conversion: layers of torch and of other packages become ours, and ours torch's."""

from ._convert import convert as convert
from ._revert import revert as revert
