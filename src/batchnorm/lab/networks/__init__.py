"""Networks that the studies train; the same generator gives all arms the same weights."""

from batchnorm.lab.networks.inception import inception as inception
from batchnorm.lab.networks.layers import last_nonlinearity as last_nonlinearity
from batchnorm.lab.networks.linear import deep_linear as deep_linear
from batchnorm.lab.networks.mlp import mlp as mlp
from batchnorm.lab.networks.norm_layers import KINDS as KINDS
from batchnorm.lab.networks.norm_layers import normalization as normalization
from batchnorm.lab.networks.residual import residual as residual
from batchnorm.lab.networks.user_model import UserModel as UserModel
from batchnorm.lab.networks.vgg import vgg as vgg
from batchnorm.lab.networks.vgg_or_linear import vgg_or_linear as vgg_or_linear
from batchnorm.lab.networks.without import without_normalization as without_normalization
