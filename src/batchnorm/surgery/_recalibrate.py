"""Recalibration: population statistics estimated anew from data, with the weights as they are."""
