from support.lab.ledgers import few, ledger_options
from support.lab.runs import data, records, small_options, small_run

__all__ = ["data", "few", "ledger_options", "records", "small_options", "small_run"]
