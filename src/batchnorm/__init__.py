"""Batch normalization for PyTorch: exact layers, and a lab that measures what they do."""

__version__ = "0.1.0"
