"""The errors that a user can mend; the command line prints each ``DecompError`` as one line."""


class DecompError(Exception):
    """Something that the user can mend: one sentence of what was wrong and what would be right."""


class DataError(DecompError, ValueError):
    """Data that cannot be found, read or used."""


class ArgumentError(TypeError, ValueError):
    """An argument of a function or class, called from Python, of a wrong type or out of range."""


class ExperimentError(DecompError, ValueError):
    """An experiment file or its arguments that cannot be used."""


class ModelError(DecompError, ValueError):
    """A model and guide that do not fit together, the data, or the objective."""


class NonFiniteError(DecompError, ArithmeticError):
    """A term or gradient that became infinite or not a number."""


class RunError(DecompError):
    """A run folder that cannot be read, continued or written."""
