"""Public functions, checked: errors are raised here, at the door, and nowhere below."""

from ._batch_norm import batch_norm as batch_norm
from ._batch_norm import normalize as normalize
from ._decorrelate import Comoments as Comoments
from ._decorrelate import decorrelate as decorrelate
from ._modulate import modulate as modulate
from ._renorm import renorm_corrections as renorm_corrections
from ._statistics import debiased as debiased
from ._statistics import update_running_ as update_running_
from ._whitening import whitening_matrix as whitening_matrix
