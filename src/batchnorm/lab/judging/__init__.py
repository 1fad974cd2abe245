"""Judging of results: comparisons, intervals, figures, and verdicts by rules.

Its modules are its face: names such as `comparison.ratio` and `summaries.ratio` differ by them.
"""
