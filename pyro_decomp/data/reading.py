"""The data of an experiment, in whatever form they are given."""

from os import PathLike
from pathlib import Path

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.arrays import read_tensor
from pyro_decomp.data.batches import Data
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.data.stored import Stored, memory_mapped
from pyro_decomp.errors import DataError

MAPPED_BYTES = 2**30  # a .npy file of this size or more is not read into memory


def as_data(data: object, source: str = "data") -> Data:
    """Data of one tensor or several, checked.

    Args:
        data: One of these, or a tuple of several of equal length, of which the first is x:

            - whatever :func:`as_tensor` takes; beside x, whole numbers and truth values keep their
              type, as labels and masks need;
            - the path of a ``.npy`` file of 1 GiB or more, which stays on disk: see
              :func:`memory_mapped`;
            - :class:`Stored` data, whatever they are, taken at their word;
            - a :class:`GroundTruth`, whose images are drawn as they are needed.
        source: What messages call it, unless it is a path.

    Raises:
        DataError: As for :func:`as_tensor`, or the lengths of several differ.

    >>> as_data(([[1, 2], [3, 4]], [0, 9]))[:1]
    (tensor([[1., 2.]]), tensor([0]))
    """
    with arguments.raised_as(DataError):
        arguments.text(source=source)
    if isinstance(data, Data):
        return data
    if not isinstance(data, tuple):
        return Data((_read(data, source),))
    first = [_read(value, f"{source}[0]") for value in data[:1]]
    others = [
        _read(value, f"{source}[{index}]", keep_integers=True)
        for index, value in enumerate(data[1:], start=1)
    ]
    return Data((*first, *others))


def _read(value: object, source: str, *, keep_integers: bool = False) -> Tensor | Stored:
    if isinstance(value, Stored):
        return value
    if isinstance(value, GroundTruth):
        return value.stored()
    if isinstance(value, str | PathLike):
        path = Path(value)
        is_large = path.suffix.lower() == ".npy" and path.is_file()
        if is_large and path.stat().st_size >= MAPPED_BYTES:
            return memory_mapped(path)
    return read_tensor(value, source, keep_integers=keep_integers)
