"""What is measured inside a network at each evaluation."""

from .contract import Moment as Moment
from .contract import Nothing as Nothing
from .contract import Probe as Probe
from .landscape import Landscape as Landscape
from .shift import Shift as Shift
from .unit_input import UnitInput as UnitInput
