"""The values of tensors and arrays that a recorded text uses, kept in a file beside it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyro_decomp.training.recorded.definitions import UnrecordedError
from pyro_decomp.training.recorded.kept import NAME, key_of

MOST_BYTES = 2**30


class Tensors:
    """Tensors in the order in which a text asks for them, which are not copied here."""

    def __init__(self) -> None:
        self.by_key: dict[str, Tensor] = {}

    def of_tensor(self, tensor: Tensor) -> str:
        """Keep a tensor, and give the expression of it.

        Raises:
            UnrecordedError: It is trained, is no plain tensor, or there are too many.
        """
        if type(tensor) is not Tensor or tensor.layout is not torch.strided:
            kind = "a parameter" if isinstance(tensor, nn.Parameter) else "a tensor of its own kind"
            raise UnrecordedError(kind)
        if tensor.requires_grad:
            raise UnrecordedError("a tensor that is trained")
        return self._kept(tensor) + ("" if tensor.is_cpu else f".to({str(tensor.device)!r})")

    def of_array(self, array: Any) -> str:
        """Keep an array, and give the expression of it.

        Raises:
            UnrecordedError: It holds objects, is no plain array, or there are too many.
        """
        if type(array) is not np.ndarray or array.dtype.hasobject:
            raise UnrecordedError("an array of Python objects or of its own kind")
        try:
            return f"{self._kept(torch.from_numpy(array))}.numpy()"
        except (TypeError, ValueError):  # torch has no such type, or no such strides
            bytes_ = torch.frombuffer(bytearray(array.tobytes() or b"\0"), dtype=torch.uint8)
            kept = self._kept(bytes_ if array.size else bytes_[:0])
            return f"{kept}.numpy().view({array.dtype.str!r}).reshape({array.shape})"

    def _kept(self, tensor: Tensor) -> str:
        tensor = tensor.detach()
        size = tensor.nbytes
        if size + sum(each.nbytes for each in self.by_key.values()) > MOST_BYTES:
            raise UnrecordedError(
                f"of {size / 2**30:.1f} GiB, which is too much to keep",
                "read it from a file inside the function",
            )
        if size < tensor.untyped_storage().nbytes():  # else all of what it is a part of is saved
            tensor = tensor.clone()
        key = key_of(len(self.by_key), tensor)
        self.by_key[key] = tensor
        return f"{NAME}[{key!r}]"
