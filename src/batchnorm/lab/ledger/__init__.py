"""Ledger of all studies: one folder, every study, every claim."""

from batchnorm.lab.ledger._all_studies import Ended as Ended
from batchnorm.lab.ledger._all_studies import plan as plan
from batchnorm.lab.ledger._all_studies import run as run
from batchnorm.lab.ledger._ledger import ALL as ALL
from batchnorm.lab.ledger._ledger import OUTCOMES as OUTCOMES
from batchnorm.lab.ledger._ledger import Judgement as Judgement
from batchnorm.lab.ledger._ledger import Ledger as Ledger
from batchnorm.lab.ledger._ledger import Neighbours as Neighbours
from batchnorm.lab.ledger._ledger import Part as Part
from batchnorm.lab.ledger._ledger import claim as claim
from batchnorm.lab.ledger._ledger import holds as holds
from batchnorm.lab.ledger._ledger import load as load
from batchnorm.lab.ledger._ledger import neighbours as neighbours
from batchnorm.lab.ledger._ledger import read as read
