"""Batch normalization of other libraries, converted to ours and back.

Nothing of Keras, flax or ONNX is imported: configurations and arrays go in, configurations and
NumPy arrays come out. The three agree with each other and differ from torch in two conventions,
which a converted layer keeps, so that it trains on as it would have there:

- their `momentum` is the weight of the old statistics, so ours is 1 - theirs;
- their running variance gets the biased variance of each batch, so `correction` is 0 here.

The data are not converted: here channels are dimension 1, wherever the other library has them.
"""

from batchnorm.integrations._flax import from_flax as from_flax
from batchnorm.integrations._flax import to_flax as to_flax
from batchnorm.integrations._keras import from_keras as from_keras
from batchnorm.integrations._keras import to_keras as to_keras
from batchnorm.integrations._onnx import from_onnx as from_onnx
from batchnorm.integrations._onnx import from_onnx_node as from_onnx_node
from batchnorm.integrations._onnx import to_onnx as to_onnx
