from support.lab.ledgers import few
from support.lab.runs import data, records, small_options, small_run

__all__ = ["data", "few", "records", "small_options", "small_run"]
