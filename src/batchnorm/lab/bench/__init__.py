"""The benchmark: ours and its peers side by side, in interleaved rounds, on any machine."""

from .cases import Case as Case
from .engine import Progress as Progress
from .engine import run as run
from .ratios import tables as tables
from .records import Record as Record
from .records import from_json as from_json
from .records import to_json as to_json
from .resnet import Network as Network
from .settings import Settings as Settings
from .settings import choose as choose
