"""Faults made on purpose; each must end in the undisturbed store, or in a refusal that leads there.

`make faults`, or `python -m tests.faults --kills 200`. A short form is `tests/test_faults.py`.
"""
