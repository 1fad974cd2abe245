"""Tasks that networks are trained on: digits, MNIST, CIFAR-10, synthetic data."""

from batchnorm.lab.tasks._load import OWN as OWN
from batchnorm.lab.tasks._load import TASKS as TASKS
from batchnorm.lab.tasks._load import load as load
from batchnorm.lab.tasks._task import Task as Task
