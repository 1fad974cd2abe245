"""Public functions, checked: errors are raised here, at the door, and nowhere below."""

from batchnorm.functional._batch_norm import batch_norm as batch_norm
from batchnorm.functional._batch_norm import normalize as normalize
from batchnorm.functional._decorrelate import Comoments as Comoments
from batchnorm.functional._decorrelate import decorrelate as decorrelate
from batchnorm.functional._modulate import modulate as modulate
from batchnorm.functional._renorm import renorm_corrections as renorm_corrections
from batchnorm.functional._statistics import debiased as debiased
from batchnorm.functional._statistics import update_running_ as update_running_
from batchnorm.functional._whitening import whitening_matrix as whitening_matrix
