"""Benchmark of batch normalization: ours and its peers in interleaved rounds, on any machine."""

from batchnorm.bench._cases import Case as Case
from batchnorm.bench._measurements import Benchmark as Benchmark
from batchnorm.bench._measurements import from_json as from_json
from batchnorm.bench._measurements import to_json as to_json
from batchnorm.bench._noise import headline as headline
from batchnorm.bench._output import Output as Output
from batchnorm.bench._ratios import tables as tables
from batchnorm.bench._resnet import Network as Network
from batchnorm.bench._run import Progress as Progress
from batchnorm.bench._run import run as run
from batchnorm.bench._settings import Settings as Settings
from batchnorm.bench._settings import choose as choose
from batchnorm.bench._timing import interleaved as interleaved
from batchnorm.bench._wording import TextTable as TextTable
from batchnorm.bench._wording import grids as grids
from batchnorm.bench._wording import machine_line as machine_line
from batchnorm.bench._wording import skipped as skipped
