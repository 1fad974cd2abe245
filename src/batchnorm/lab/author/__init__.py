"""Names for authors of studies, from design to page, in one place.

Arms, plans and work come from `batchnorm.lab`; here is what builds networks and judges results.
"""

from batchnorm.lab.design import CLAIMS as CLAIMS
from batchnorm.lab.design import by_task as by_task
from batchnorm.lab.judging import charts as charts
from batchnorm.lab.judging import comparison as comparison
from batchnorm.lab.judging import intervals as intervals
from batchnorm.lab.judging import step_charts as step_charts
from batchnorm.lab.judging import summaries as summaries
from batchnorm.lab.judging import wording as wording
from batchnorm.lab.judging._figures import Axis as Axis
from batchnorm.lab.judging._figures import Bars as Bars
from batchnorm.lab.judging._figures import Curve as Curve
from batchnorm.lab.judging._figures import Curves as Curves
from batchnorm.lab.judging._figures import Table as Table
from batchnorm.lab.judging._findings import Effect as Effect
from batchnorm.lab.judging._findings import Explanation as Explanation
from batchnorm.lab.judging._findings import Findings as Findings
from batchnorm.lab.judging._verdicts import Condition as Condition
from batchnorm.lab.judging._verdicts import Readings as Readings
from batchnorm.lab.judging._verdicts import above as above
from batchnorm.lab.judging._verdicts import below as below
from batchnorm.lab.judging._verdicts import judge as judge
from batchnorm.lab.networks import inception as inception
from batchnorm.lab.networks import mlp as mlp
from batchnorm.lab.networks import residual as residual
from batchnorm.lab.networks import vgg as vgg
from batchnorm.lab.probes import Landscape as Landscape
from batchnorm.lab.probes import Moment as Moment
from batchnorm.lab.probes import Probe as Probe
from batchnorm.lab.probes import Shift as Shift
from batchnorm.lab.probes import UnitInput as UnitInput
from batchnorm.lab.report import build as build
