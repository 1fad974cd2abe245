"""Providers of the benchmark: ours, its peers, and the jobs that they do on a case."""

from batchnorm.bench._providers._blocks import repeatable as repeatable
from batchnorm.bench._providers._subjects import FORMATS as FORMATS
from batchnorm.bench._providers._subjects import Block as Block
from batchnorm.bench._providers._subjects import Inputs as Inputs
from batchnorm.bench._providers._subjects import Subject as Subject
from batchnorm.bench._providers._subjects import copying as copying
from batchnorm.bench._providers._subjects import draw as draw
from batchnorm.bench._providers._table import COPY as COPY
from batchnorm.bench._providers._table import LEVELS as LEVELS
from batchnorm.bench._providers._table import OURS as OURS
from batchnorm.bench._providers._table import PEERS as PEERS
from batchnorm.bench._providers._table import PROVIDERS as PROVIDERS
from batchnorm.bench._providers._table import Unsupported as Unsupported
from batchnorm.bench._providers._table import compiler_missing as compiler_missing
from batchnorm.bench._providers._table import reason as reason
