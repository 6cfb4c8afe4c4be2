"""Wrong versions of the C++ sources, to prove that the tests of tests/device notice.

`edits.py` says what is wrong in each, `source.py` writes a copy of csrc that can be told to do any
of it, and `run.py` runs the tests under one fault after another.
"""
