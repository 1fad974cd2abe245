"""Tools for any model: call, find, borrow, trace, observe, copy, edit and compare.

What touches a user's model is here; `surgery`, `measure` and the rooms above decide what to do
with it.
"""
