from lab_ledgers import few, ledger_options, small_ledger
from lab_runs import data, records, small_options, small_run

__all__ = [
    "data",
    "few",
    "ledger_options",
    "records",
    "small_ledger",
    "small_options",
    "small_run",
]
