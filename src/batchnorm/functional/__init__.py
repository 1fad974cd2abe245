"""The checked public functions: errors are raised here, at the door, and nowhere below."""

from ._batch_norm import batch_norm as batch_norm
from ._batch_norm import normalize as normalize
from ._checks import check_finite as check_finite
from ._checks import check_options as check_options
from ._checks import epilogue_of as epilogue_of
from ._statistics import debiased as debiased
from ._statistics import update_running_ as update_running_
