"""The arithmetic, once for each backend, behind one set of signatures.

`_select` says which backend serves a device; `_eager` is plain torch and always there; `_cpu` is
compiled for the processor.
"""

from ._running import Running as Running
from ._running import update_ as update_
from ._select import PLAIN as PLAIN
from ._select import Backward as Backward
from ._select import Epilogue as Epilogue
from ._select import Forward as Forward
from ._select import Saved as Saved
from ._select import available as available
from ._select import backend as backend
from ._select import current as current
from ._select import gradient_dtype as gradient_dtype
