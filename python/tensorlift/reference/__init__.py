"""The same functions in NumPy and torch alone: slow, short, and plain enough to be obviously right.

Every public function of the package agrees with the one of its name here, in values, dtypes,
shapes, strides, sharing, warnings and types of errors; the tests hold them to it. Use it to check a
suspicion, or where nothing can be compiled.
"""

from ._batch import cat, jagged, pad, stack
from ._convert import from_numpy
from ._explain import explain
from ._pack import pack
from ._to_numpy import to_numpy

__all__ = ["cat", "explain", "from_numpy", "jagged", "pack", "pad", "stack", "to_numpy"]
