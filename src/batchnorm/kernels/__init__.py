"""Kernels: the arithmetic, once for each backend, behind one set of signatures.

`_select` chooses the backend for a device; `_eager` is plain torch and always available; `_cpu` is
compiled for the processor.
"""

from batchnorm.kernels._call import PLAIN as PLAIN
from batchnorm.kernels._call import Backward as Backward
from batchnorm.kernels._call import Call as Call
from batchnorm.kernels._call import Epilogue as Epilogue
from batchnorm.kernels._call import Forward as Forward
from batchnorm.kernels._call import GradientCall as GradientCall
from batchnorm.kernels._call import gradient_dtype as gradient_dtype
from batchnorm.kernels._running import RunningStats as RunningStats
from batchnorm.kernels._running import update_ as update_
from batchnorm.kernels._select import available as available
from batchnorm.kernels._select import backend as backend
from batchnorm.kernels._select import current as current
