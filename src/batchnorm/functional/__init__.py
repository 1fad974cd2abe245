"""The checked public functions: errors are raised here, at the door, and nowhere below."""

from ._batch_norm import batch_norm as batch_norm
from ._batch_norm import normalize as normalize
from ._checks import check_finite as check_finite
from ._checks import check_options as check_options
from ._checks import epilogue_of as epilogue_of
from ._decorrelate import Comoments as Comoments
from ._decorrelate import check_groups as check_groups
from ._decorrelate import check_shrinkage as check_shrinkage
from ._decorrelate import decorrelate as decorrelate
from ._modulate import check_modulation as check_modulation
from ._modulate import modulate as modulate
from ._renorm import check_renorm as check_renorm
from ._renorm import renorm_corrections as renorm_corrections
from ._statistics import debiased as debiased
from ._statistics import update_running_ as update_running_
from ._weights import check_companions as check_companions
from ._whitening import check_method as check_method
from ._whitening import whitening_matrix as whitening_matrix
