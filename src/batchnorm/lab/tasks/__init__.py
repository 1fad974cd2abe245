"""The built-in tasks."""

from .load import OWN as OWN
from .load import TASKS as TASKS
from .load import load as load
from .task import Task as Task
