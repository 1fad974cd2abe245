"""Schemas of the operators ``torch.ops.batchnorm.forward`` and ``.backward``."""

import torch

_FORWARD = (
    "forward(Tensor x, Tensor? weight, Tensor? bias, Tensor? mean, Tensor? var, float eps,"
    " Tensor? residual=None, str activation='identity', float alpha=0.0)"
    " -> (Tensor y, Tensor statistics, Tensor mask)"
)
_BACKWARD = (
    "backward(Tensor dy, Tensor x, Tensor? weight, Tensor? bias, Tensor? residual,"
    " Tensor statistics, Tensor? mask, float eps, bool batch_statistics, bool has_residual=False,"
    " str activation='identity', float alpha=0.0)"
    " -> (Tensor dx, Tensor dweight, Tensor dbias, Tensor dresidual)"
)

library = torch.library.Library("batchnorm", "DEF")
library.define(_FORWARD)
library.define(_BACKWARD)

forward_op = torch.ops.batchnorm.forward.default
backward_op = torch.ops.batchnorm.backward.default
