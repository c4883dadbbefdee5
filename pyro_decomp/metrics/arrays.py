"""Codes and factors as numpy arrays, checked; which of their dimensions vary."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from pyro_decomp import arguments
from pyro_decomp.errors import DataError

LARGEST = 1e75  # of codes: covariances of it, and products of two of these, are finite


@dataclass(frozen=True)
class Factors:
    """Ground-truth factors that vary, each counted from 0; internal.

    Attributes:
        levels: One row a datum, one column a factor; whole numbers from 0 without a gap, in the
            order of the values they stand for.
        values: For each factor, the value that each level stands for.
        columns: Which columns of the given array these are: constant ones are left out.
    """

    levels: Int[np.ndarray, "n k"]
    values: tuple[NDArray[Any], ...]
    columns: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of levels of each factor."""
        return tuple(len(values) for values in self.values)

    def take(self, rows: Int[np.ndarray, " m"]) -> "Factors":
        """The levels of some of the rows.

        Args:
            rows: Their indices.
        """
        return Factors(self.levels[rows], self.values, self.columns)

    def numbers(self) -> Float[np.ndarray, "n k"]:
        """The values that the levels stand for as numbers; of words, the levels themselves."""
        columns = zip(self.levels.T, self.values, strict=True)
        return np.stack(
            [levels if values.dtype.kind in "US" else values[levels] for levels, values in columns],
            axis=1,
        ).astype(np.float64)


def as_codes(
    codes: object,
    name: str = "codes",
    *,
    num_rows: int | None = None,
    largest: float = LARGEST,
) -> Float[np.ndarray, "n d"]:
    """Codes as a float64 array, one row a datum.

    Args:
        codes: An array, a tensor, or what numpy makes into an array.
        name: What errors call it.
        num_rows: How many rows there must be; None for any number.
        largest: Magnitude that numbers may have.

    Returns:
        The array.

    Raises:
        DataError: The array is not two-dimensional, is empty, has other rows than ``num_rows``, or
            has values that are not finite real numbers, or larger than ``largest``.

    >>> as_codes([[1, 2], [3, 4]]).dtype
    dtype('float64')
    """
    array = _matrix(codes, name, num_rows)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name}: expected real numbers, got values of type {array.dtype}")
    array = array.astype(np.float64)
    finite = np.isfinite(array).all(1)
    if not finite.all():
        raise DataError(
            f"{name}: expected finite numbers, got NaN or infinity in {np.sum(~finite)} of "
            f"{len(finite)} rows, the first of them row {np.argmin(finite)}"
        )
    size = np.abs(array).max(1)
    if size.max() > largest:
        raise DataError(
            f"{name}: expected numbers up to {largest:g}, whose powers are finite, got "
            f"{size.max():g} in row {size.argmax()} (divide by their scale)"
        )
    return array


def as_factors(
    factors: object,
    name: str = "factors",
    *,
    num_rows: int,
    compared: bool = False,
) -> Factors:
    """Factors as levels counted from 0, without those that do not vary.

    Args:
        factors: An array or tensor [n, k] of whole numbers (any values; floating-point whole
            numbers too) or of strings.
        name: What errors call it.
        num_rows: Number of codes.
        compared: Whether a metric compares factors with one another: with a single one, such as a
            class label, it has a value that says nothing of codes.

    Raises:
        DataError: The array is not two-dimensional, has other rows than there are codes, has values
            that are not whole numbers, or no column of it varies; or a single one does, and
            they are ``compared``.

    >>> as_factors([[7, 0], [5, 0], [7, 0]], num_rows=3).levels.tolist()
    [[1], [0], [1]]
    """
    array = _matrix(factors, name, num_rows)
    if array.dtype.kind not in "biufUS":
        raise DataError(f"{name}: expected whole numbers, got values of type {array.dtype}")
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.rint(array))
        if not whole.all():
            row, column = np.argwhere(~whole)[0]
            raise DataError(
                f"{name}: expected whole numbers, got {array[row, column]} in row {row}, "
                f"column {column}"
            )
    found = [np.unique(column, return_inverse=True) for column in array.T]
    columns = tuple(k for k, (values, _) in enumerate(found) if len(values) > 1)
    if not columns:
        raise DataError(f"{name}: expected a factor that varies, got {array.shape[1]} constant")
    if compared and len(columns) < 2:
        raise DataError(
            f"{name}: expected at least 2 that vary, as they are compared with one another, got 1 "
            "(for class labels there are linear_accuracy, knn_accuracy, nmi, "
            "ari and silhouette)"
        )
    levels = np.stack([found[k][1].reshape(-1) for k in columns], axis=1).astype(np.int64)
    return Factors(levels, tuple(found[k][0] for k in columns), columns)


def as_labels(labels: object, name: str = "labels", *, num_rows: int) -> Factors:
    """Class labels as the single factor that they are.

    A single column that varies, with at most half as many values as rows, is taken for classes.

    Args:
        labels: An array or tensor [n] or [n, 1] of whole numbers (any values; floating-point whole
            numbers too) or of strings. Further columns that are constant are left out.
        name: What errors call it.
        num_rows: Number of codes.

    Raises:
        DataError: As :func:`as_factors`; or several columns vary, or there are too many classes.

    >>> as_labels(["b", "a", "b", "b"], num_rows=4).levels[:, 0].tolist()
    [1, 0, 1, 1]
    """
    array = as_array(labels, name)
    found = as_factors(array[:, None] if array.ndim == 1 else array, name, num_rows=num_rows)
    if len(found.columns) > 1:
        raise DataError(
            f"{name}: expected one column of class labels, got {len(found.columns)} that vary "
            "(give one of them by itself)"
        )
    if 2 * found.sizes[0] > num_rows:
        raise DataError(
            f"{name}: expected class labels, at most one for every two rows, got "
            f"{found.sizes[0]} different values in {num_rows} rows"
        )
    return found


def _matrix(value: object, name: str, num_rows: int | None) -> NDArray[Any]:
    """Check that an array has two axes, neither of them empty."""
    array = as_array(value, name)
    if array.ndim != 2 or array.size == 0:
        with arguments.raised_as(DataError):
            arguments.refuse(name, "an array [n, columns]", array if array.ndim else value)
    if num_rows is not None and len(array) != num_rows:
        raise DataError(f"{name}: expected {num_rows} rows, one a code, got {len(array)}")
    return array


def as_array(value: object, name: str) -> NDArray[Any]:
    """The numpy array of an array, a tensor on any device, or lists.

    Args:
        value: The array.
        name: What errors call it.

    Raises:
        DataError: It is a ragged list.
    """
    if getattr(value, "is_meta", False):
        raise DataError(f"{name}: expected numbers in memory, got a tensor on the device meta")
    for method in ("detach", "cpu"):  # a tensor, without importing torch for it
        value = getattr(value, method)() if hasattr(value, method) else value
    if str(getattr(value, "dtype", None)) == "torch.bfloat16":  # which numpy does not have
        value = value.float()  # type: ignore[attr-defined]
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DataError(f"{name}: expected rows of one length, got a ragged list") from error


def varying(
    codes: Float[np.ndarray, "n d"], *, least: int, metric: str
) -> tuple[Float[np.ndarray, "n e"], list[int]]:
    """The dimensions that take more than one value, and the positions of the others.

    Args:
        codes: One a row.
        least: How many dimensions must vary for the metric to have a meaning.
        metric: The metric, as errors are to name it.

    Raises:
        DataError: Fewer rows than two, or fewer such dimensions than ``least``.

    >>> varying(np.array([[0.0, 1.0], [0.0, 2.0]]), least=1, metric="irs")[1]
    [0]
    """
    if len(codes) < 2:
        raise DataError(f"codes: expected at least 2 rows for {metric}, got {len(codes)}")
    varies = codes.min(0) < codes.max(0)
    if varies.sum() < least:
        raise DataError(
            f"codes: expected at least {least} of {len(varies)} dimensions to vary for {metric}, "
            f"got {varies.sum()} that do"
        )
    return codes[:, varies], np.flatnonzero(~varies).tolist()


def standardised(
    codes: Float[np.ndarray, "n d"], *, of: Float[np.ndarray, "m d"] | None = None
) -> Float[np.ndarray, "n d"]:
    """Codes of mean 0 and standard deviation 1; a dimension that does not vary is only centred.

    Args:
        codes: One a row.
        of: Rows whose mean and standard deviation they are; the codes themselves by default.

    >>> standardised(np.array([[1.0, 7.0], [3.0, 7.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    rows = codes if of is None else of
    scale = rows.std(0)
    centred: Float[np.ndarray, "n d"] = codes - rows.mean(0)
    return centred / np.where(scale > 0, scale, 1.0)


def merge_levels(factors: object, merged: Mapping[int, Mapping[int, int]]) -> NDArray[Any]:
    r"""Factors in which some values of a column count as another.

    Of dSprites' 40 orientations, spread over [0, 2 pi] with both ends, the first and the last are
    the same image: a code made from images cannot tell them apart, so that no normalised
    information about orientation exceeds 1 - (2/40) ln 2 / ln 40 = 0.9906 while they are two, and
    no classifier is right on more than 39 in 40. ``{3: {39: 0}}`` merges them, where column 3 is
    the orientation. Nothing else coincides on that grid: a square turned by a quarter is 9.75 steps
    away and an ellipse turned by a half 19.5. They do make orientation circular in a quarter or a
    half turn, which no single code follows without a jump; no merging of levels mends that.

    Args:
        factors: [n, k] whole numbers.
        merged: For each column, which value is replaced by which.

    Returns:
        A new array.

    Raises:
        DataError: A column is not there.

    Reference:
        Matthey et al., dSprites, 2017, https://github.com/google-deepmind/dsprites-dataset.

    >>> merge_levels([[0, 39], [1, 7]], {1: {39: 0}}).tolist()
    [[0, 0], [1, 7]]
    """
    arguments.annotated(merge_levels, locals())
    original = as_array(factors, "factors")
    if original.ndim != 2:
        raise DataError(f"factors: expected an array [n, columns], got shape {original.shape}")
    result = original.copy()
    for column, values in merged.items():
        arguments.whole(0, **{"merged": column})
        arguments.instance(Mapping, "a dictionary", **{f"merged[{column}]": values})
        arguments.numbers("(-inf, inf)", **{f"merged[{column}]": [*values, *values.values(), 0]})
        if not 0 <= column < original.shape[1]:
            raise DataError(f"factors: expected a column {column}, got {original.shape[1]} columns")
        for old, new in values.items():
            result[original[:, column] == old, column] = new
    return result
