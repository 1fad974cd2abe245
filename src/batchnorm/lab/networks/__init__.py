"""The networks that the studies train; the same generator gives all arms the same weights."""

from .inception import inception as inception
from .layers import last_nonlinearity as last_nonlinearity
from .linear import deep_linear as deep_linear
from .mlp import mlp as mlp
from .norms import KINDS as KINDS
from .norms import normalization as normalization
from .residual import residual as residual
from .vgg import vgg as vgg
from .vgg_or_linear import vgg_or_linear as vgg_or_linear
from .without import without_normalization as without_normalization
