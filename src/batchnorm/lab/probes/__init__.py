"""Probes: what is measured inside a network at each evaluation."""

from batchnorm.lab.probes._contract import Moment as Moment
from batchnorm.lab.probes._contract import Nothing as Nothing
from batchnorm.lab.probes._contract import Probe as Probe
from batchnorm.lab.probes._loss_landscape import Landscape as Landscape
from batchnorm.lab.probes._shift import Shift as Shift
from batchnorm.lab.probes._unit_input import UnitInput as UnitInput
