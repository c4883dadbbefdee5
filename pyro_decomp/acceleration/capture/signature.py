"""What a step computes, as a digest: equal for runs that differ in their tensors alone."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from pyro_decomp.acceleration.capture.random_draws import can_be_lifted
from pyro_decomp.acceleration.capture.recording import is_random
from pyro_decomp.acceleration.capture.substitution import Slots
from pyro_decomp.acceleration.errors import CaptureError, HiddenValueError
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.elbo import Estimate
from pyro_decomp.programs.program_state.own import content

aten = torch.ops.aten


@dataclass(frozen=True)
class Signature:
    """What the forward pass of a step does.

    Attributes:
        digest: Of the operations in their order, what each is given, and all constants. Parameters,
            buffers that change, numbers that are inputs, data and draws are told by place alone.
        num_operations: How many there are.
        largest: Elements of the largest tensor among their results.
        is_convolutional: Whether a convolution is among them.
    """

    digest: str
    num_operations: int
    largest: int
    is_convolutional: bool


def sign(source: StepSource, slots: Slots, batch: Sequence[Tensor]) -> tuple[Signature, Estimate]:
    """Run a step's forward pass once, and take its signature; draws are drawn.

    Args:
        source: Whose programs.
        slots: Which of its tensors are inputs.
        batch: A batch of data.

    Raises:
        CaptureError: Values of tensors decide what is computed, or a draw depends on parameters.
    """
    numbers = slots.inputs()[-len(slots.weights) :] if slots.weights else []
    buffers = [buffer.clone() for buffer in slots.buffers]
    inputs = [*slots.trained, *slots.frozen, *buffers, *numbers, *batch]
    recorder = _Recorder(inputs)
    with (
        slots.filled(slots.trained, slots.frozen, buffers, numbers),
        pyro.validation_enabled(False),
        recorder,
    ):
        estimate = source.evaluate(*batch)
    return recorder.signature(), estimate


class _Recorder(TorchDispatchMode):
    """Writes down every operation under it."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self._digest = hashlib.sha256()
        self._places: dict[int, str] = {}
        self._depends: set[int] = set()
        self._alive: list[Tensor] = []  # or an address could be given to another
        self._num_operations = self._largest = 0
        self._is_convolutional = False
        for index, tensor in enumerate(inputs):
            self._know(tensor, f"input {index} {tuple(tensor.shape)} {tensor.dtype}", depends=True)

    def signature(self) -> Signature:
        digest = self._digest.hexdigest()
        return Signature(digest, self._num_operations, self._largest, self._is_convolutional)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        given, _ = tree_flatten((args, kwargs))
        draws = is_random(func)
        depends = any(id(each) in self._depends for each in given if isinstance(each, Tensor))
        if func is aten._local_scalar_dense.default and depends:
            raise HiddenValueError
        if draws and depends and not can_be_lifted(func):
            raise CaptureError(f"what '{func}' draws depends on parameters or data")
        self._digest.update(f"{func}{[self._told(each) for each in given]}".encode())
        result = func(*args, **kwargs)
        self._num_operations += 1
        self._is_convolutional |= func is aten.convolution.default
        for index, each in enumerate(tree_flatten(result)[0]):
            if isinstance(each, Tensor):
                self._largest = max(self._largest, each.numel())
                place = f"{self._num_operations}.{index}"
                self._know(each, place, depends=depends or draws)
        return result

    def _know(self, tensor: Tensor, place: str, *, depends: bool) -> None:
        self._alive.append(tensor)
        self._places[id(tensor)] = place
        if depends:
            self._depends.add(id(tensor))

    def _told(self, value: Any) -> str:
        if not isinstance(value, Tensor):
            return repr(value)
        if id(value) not in self._places:  # a constant of the programs
            told = hashlib.sha256(content(value)).hexdigest()
            self._know(value, f"{told} {tuple(value.shape)} {value.dtype}", depends=False)
        return self._places[id(value)]
