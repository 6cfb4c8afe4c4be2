"""What the functions that join arrays raise."""


class BatchTypeError(TypeError, NotImplementedError):
    """Items of types, or of dtypes, that do not make one batch.

    A TypeError; a RuntimeError as well, which torch's functions raise here.
    """


class BatchValueError(ValueError, RuntimeError):
    """Items of shapes, or options of values, that do not make one batch.

    A ValueError; a RuntimeError as well, which torch's functions raise here.
    """
