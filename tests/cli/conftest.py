from lab_ledgers import few
from lab_runs import data, records, small_options, small_run

__all__ = ["data", "few", "records", "small_options", "small_run"]
