"""Probes: what is measured inside a network at each evaluation."""

from batchnorm.lab.probes.contract import Moment as Moment
from batchnorm.lab.probes.contract import Nothing as Nothing
from batchnorm.lab.probes.contract import Probe as Probe
from batchnorm.lab.probes.loss_landscape import Landscape as Landscape
from batchnorm.lab.probes.shift import Shift as Shift
from batchnorm.lab.probes.unit_input import UnitInput as UnitInput
