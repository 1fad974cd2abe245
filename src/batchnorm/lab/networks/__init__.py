"""Networks that the studies train; the same generator gives all arms the same weights."""

from batchnorm.lab.networks._inception import inception as inception
from batchnorm.lab.networks._layers import last_nonlinearity as last_nonlinearity
from batchnorm.lab.networks._linear import deep_linear as deep_linear
from batchnorm.lab.networks._mlp import mlp as mlp
from batchnorm.lab.networks._norm_layers import KINDS as KINDS
from batchnorm.lab.networks._norm_layers import normalization as normalization
from batchnorm.lab.networks._residual import residual as residual
from batchnorm.lab.networks._user_model import UserModel as UserModel
from batchnorm.lab.networks._vgg import vgg as vgg
from batchnorm.lab.networks._vgg_or_linear import vgg_or_linear as vgg_or_linear
from batchnorm.lab.networks._without import without_normalization as without_normalization
