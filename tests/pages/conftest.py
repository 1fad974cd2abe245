from support.bench_runs import small_bench

__all__ = ["small_bench"]
