from lab_runs import data, records, small_options, small_run

__all__ = ["data", "records", "small_options", "small_run"]
