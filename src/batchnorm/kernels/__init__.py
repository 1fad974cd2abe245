"""The arithmetic, once for each backend, behind one set of signatures.

`_select` chooses the backend for a device; `_eager` is plain torch and always available; `_cpu` is
compiled for the processor.
"""

from ._call import PLAIN as PLAIN
from ._call import Backward as Backward
from ._call import Call as Call
from ._call import Epilogue as Epilogue
from ._call import Forward as Forward
from ._call import GradientCall as GradientCall
from ._call import gradient_dtype as gradient_dtype
from ._running import RunningStats as RunningStats
from ._running import update_ as update_
from ._select import available as available
from ._select import backend as backend
from ._select import current as current
