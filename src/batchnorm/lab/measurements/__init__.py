"""Measurements without training: one function for each question."""
