"""Fusion of activations and additions into our layers."""

from ._fuse import fuse_layers as fuse_layers
from ._fused import Fused as Fused
from ._fused import Fusion as Fusion
from ._fx import unfuse_graph as unfuse_graph
