r"""Operators of PyTorch: schemas, fake kernels for tracing, and derivatives.

``torch.ops.batchnorm.forward`` and ``.backward`` serve every device; the kernels floor decides
which backend computes. They are registered on a bare `torch.library.Library`, with the
derivative as a `torch.autograd.Function`: `torch.library.register_autograd` would do the same
at nearly twice the cost of a call.
"""

from batchnorm.ops import _register as _register
from batchnorm.ops._captured import captured as captured
from batchnorm.ops._captured import mapped as mapped
from batchnorm.ops._captured import transformed_by_func as transformed_by_func
from batchnorm.ops._composite import arithmetic as arithmetic
from batchnorm.ops._differentiable import forward as forward
from batchnorm.ops._differentiable import update_ as update_
from batchnorm.ops._differentiable import weighted as weighted
from batchnorm.ops._watch import exporting_onnx as exporting_onnx
from batchnorm.ops._watch import is_plain_eager as is_plain_eager
from batchnorm.ops._watch import recording_program as recording_program
from batchnorm.ops._watch import tracing as tracing
from batchnorm.ops._watch import untraced as untraced
