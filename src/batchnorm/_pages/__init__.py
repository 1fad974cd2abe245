"""Pages, and what else the benchmark and the lab share: files, numbers, machine, optional packages.

Nothing here knows what a page shows; this room imports `errors` and nothing else of the package.
"""

from batchnorm._pages._files import append_whole as append_whole
from batchnorm._pages._files import check_plain as check_plain
from batchnorm._pages._files import obstacle as obstacle
from batchnorm._pages._files import read_plain as read_plain
from batchnorm._pages._files import reason as reason
from batchnorm._pages._files import unwritten as unwritten
from batchnorm._pages._files import write_atomically as write_atomically
from batchnorm._pages._frame import render as render
from batchnorm._pages._machine import Facts as Facts
from batchnorm._pages._machine import cores as cores
from batchnorm._pages._machine import environment as environment
from batchnorm._pages._machine import facts as facts
from batchnorm._pages._numbers import number as number
from batchnorm._pages._require import require as require
from batchnorm._pages._strict_json import parse_json as parse_json
from batchnorm._pages._version import own_version as own_version
