"""Instruments: what batch normalization does for a model, measured on it without touching it.

Every one takes any PyTorch model, leaves it as it was, and returns a frozen record.
"""

from batchnorm.measure._activations import Activations as Activations
from batchnorm.measure._activations import ModuleActivations as ModuleActivations
from batchnorm.measure._activations import activations as activations
from batchnorm.measure._covariate_shift import InternalCovariateShift as InternalCovariateShift
from batchnorm.measure._covariate_shift import LayerShift as LayerShift
from batchnorm.measure._covariate_shift import internal_covariate_shift as internal_covariate_shift
from batchnorm.measure._evaluation_gap import EvaluationGap as EvaluationGap
from batchnorm.measure._evaluation_gap import LayerGap as LayerGap
from batchnorm.measure._evaluation_gap import evaluation_gap as evaluation_gap
from batchnorm.measure._gradient_norms import Lengths as Lengths
from batchnorm.measure._gradient_norms import Norms as Norms
from batchnorm.measure._gradient_norms import norms as norms
from batchnorm.measure._lanczos import Lanczos as Lanczos
from batchnorm.measure._landscape import LandscapePoint as LandscapePoint
from batchnorm.measure._landscape import LossLandscape as LossLandscape
from batchnorm.measure._landscape import loss_landscape as loss_landscape
from batchnorm.measure._sharpness import Eigenvalue as Eigenvalue
from batchnorm.measure._sharpness import Sharpness as Sharpness
from batchnorm.measure._sharpness import sharpness as sharpness
from batchnorm.measure._statistics_noise import LayerNoise as LayerNoise
from batchnorm.measure._statistics_noise import StatisticsNoise as StatisticsNoise
from batchnorm.measure._statistics_noise import statistics_noise as statistics_noise
