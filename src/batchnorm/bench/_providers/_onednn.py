"""oneDNN's tensor layout, the one that its own convolutions return."""

import torch
from torch import Tensor

from batchnorm.bench._providers._subjects import Inputs


def converted(inputs: Inputs) -> Inputs:
    """Return the same values in the layout that a network of oneDNN's layers has.

    `to_mkldnn` alone keeps the plain layout, in which oneDNN's batch normalization is several
    times slower than behind one of its convolutions. So images go through a convolution with the
    identity, which changes no value.

    Args:
        inputs: dense tensors.

    Example:
        >>> from batchnorm.bench._cases import Case
        >>> from batchnorm.bench._providers._subjects import draw
        >>> inputs = draw(Case("sites", "", (2, 16, 4, 4)), "float32", "contiguous")
        >>> torch.equal(converted(inputs).x.to_dense(), inputs.x)
        True
    """
    if inputs.x.ndim != 4:  # noqa: PLR2004 -- only images have layouts
        return inputs.converted(Tensor.to_mkldnn)
    identity = torch.eye(inputs.x.shape[1], dtype=inputs.x.dtype)[:, :, None, None].to_mkldnn()
    reorder = torch.ops.aten.mkldnn_reorder_conv2d_weight
    weight = reorder(identity, [0, 0], [1, 1], [1, 1], 1, inputs.x.shape)
    with torch.no_grad():
        return inputs.converted(lambda tensor: torch.conv2d(tensor.to_mkldnn(), weight))
