"""scikit-learn, for the metrics that fit a classifier."""

from importlib import import_module
from typing import Any

from pyro_decomp.errors import DataError


def scikit(module: str) -> Any:
    """A module of scikit-learn, which is imported where a metric needs it and not before.

    Args:
        module: Its name within ``sklearn``.

    Raises:
        DataError: scikit-learn is not installed.

    >>> scikit("svm").LinearSVC.__name__
    'LinearSVC'
    """
    try:
        return import_module(f"sklearn.{module}")
    except ModuleNotFoundError as error:
        raise DataError(
            "scikit-learn: expected it for this metric, got no such package; "
            "install it with pip install 'pyro-decomp[metrics]'"
        ) from error
