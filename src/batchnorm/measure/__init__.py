"""Instruments: what batch normalization does for a model, measured on it without touching it.

Every one takes any PyTorch model, leaves it as it was, and returns a frozen record.
"""

from ._activations import Activations as Activations
from ._activations import ModuleActivations as ModuleActivations
from ._activations import activations as activations
from ._covariate_shift import InternalCovariateShift as InternalCovariateShift
from ._covariate_shift import LayerShift as LayerShift
from ._covariate_shift import internal_covariate_shift as internal_covariate_shift
from ._evaluation_gap import EvaluationGap as EvaluationGap
from ._evaluation_gap import LayerGap as LayerGap
from ._evaluation_gap import evaluation_gap as evaluation_gap
from ._gradient_norms import Lengths as Lengths
from ._gradient_norms import Norms as Norms
from ._gradient_norms import norms as norms
from ._landscape import LandscapePoint as LandscapePoint
from ._landscape import LossLandscape as LossLandscape
from ._landscape import loss_landscape as loss_landscape
from ._statistics_noise import LayerNoise as LayerNoise
from ._statistics_noise import StatisticsNoise as StatisticsNoise
from ._statistics_noise import statistics_noise as statistics_noise
