"""Values that are not there: masked, or None or the like among numbers."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_decomp.errors import DataError

NOT_THERE = {"NAType", "NaTType"}  # what pandas has for None
REMEDY = (
    "leave those rows out, or fill them and give the programs a mask of what is known, as in "
    "data=(x, is_known)"
)


def without_mask(data: object, source: str) -> object:
    """What is given, as it is without its mask if nothing is masked.

    Args:
        data: A masked array, as readers of netCDF, FITS and HDF return; rows of which some are
            masked arrays; an array of arrow; or anything else.
        source: What messages call it.

    Raises:
        DataError: A value is masked or null.
    """
    if isinstance(data, list | tuple) and any(isinstance(x, np.ma.MaskedArray) for x in data):
        data = np.ma.asanyarray(data)
    nulls = getattr(data, "null_count", 0)
    if isinstance(nulls, int) and nulls:
        raise DataError(f"{source}: expected a value everywhere, got {nulls} null: {REMEDY}")
    if not isinstance(data, np.ma.MaskedArray):
        return data
    _refuse(np.ma.getmaskarray(data), source, "masked")
    return data.data


def numbers(array: NDArray[Any], source: str) -> NDArray[Any]:
    """An array of Python's numbers, as mixed columns of a data frame become, as one of float64.

    Any other is given back as it is, without a mask if it has one.

    Raises:
        DataError: A value is masked, or is None, NA or NaT.
    """
    found: NDArray[Any] = np.asarray(without_mask(array, source))
    if found.dtype.kind != "O":
        return found
    values = found.ravel().tolist()
    is_missing = [
        value is None or type(value).__name__ in {"NAType", "NaTType"} for value in values
    ]
    _refuse(np.array(is_missing, dtype=bool).reshape(found.shape), source, "missing (None or NA)")
    if not values or not all(isinstance(value, Real) for value in values):
        return found
    whole = all(isinstance(value, int | np.integer) for value in values)
    try:
        return np.array(values, dtype=np.int64 if whole else np.float64).reshape(found.shape)
    except OverflowError as error:
        raise DataError(
            f"{source}: expected whole numbers below 2**63, got a larger one"
        ) from error


def _refuse(mask: NDArray[np.bool_], source: str, what: str) -> None:
    if not mask.any():
        return
    first = ", ".join(map(str, np.argwhere(mask)[0]))
    raise DataError(
        f"{source}: expected a value everywhere, got {int(mask.sum())} of {mask.size} that are "
        f"{what}, the first of them at [{first}]: {REMEDY}"
    )
