"""Fusion of activations and additions into our layers."""

from batchnorm.surgery._fuse._fuse import fuse_layers as fuse_layers
from batchnorm.surgery._fuse._fused import Fused as Fused
from batchnorm.surgery._fuse._fused import Fusion as Fusion
from batchnorm.surgery._fuse._fx import taking_residuals as taking_residuals
from batchnorm.surgery._fuse._fx import unfuse_graph as unfuse_graph
