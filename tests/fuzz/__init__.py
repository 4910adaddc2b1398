"""Broken and hostile files by the hundred thousand: `make fuzz`, `python -m tests.fuzz --files N`.

Every file must be read or refused in one line, within 10 s of the processor and 1 GB of memory.
"""
