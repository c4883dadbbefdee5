"""A captured graph as a function in C: its loops, its memory, and calling it."""

import ctypes
import math
import subprocess
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.acceleration.fusion.emit import Emitter
from pyro_decomp.acceleration.fusion.refusal import FusionError
from pyro_decomp.acceleration.fusion.schedule import Schedule, scheduled
from pyro_decomp.acceleration.fusion.translate import Translation
from pyro_decomp.acceleration.fusion.values import Call, Stored, Value, contiguous
from pyro_decomp.acceleration.fusion.views import viewed
from pyro_decomp.aggregate_posterior.native.library import library_of, reason

PRELUDE = Path(__file__).with_name("prelude.h")
ALIGNED = 64  # bytes


class Program:
    """What a graph computes, in C compiled for this processor.

    It is for one thread, and for graphs of small tensors: pointwise operations, views, sums and
    small products of matrices. Loops are fused, so that what passes between operations stays in
    registers and caches; it rounds otherwise than the graph does. Several members of an ensemble
    are computed one after another, each by the same code.

    Args:
        module: A functional graph.
        inputs: What it is to be given, or the like of it; these shapes and types are fixed.
        groups: How many outputs come out in one tensor each; by default each is one.

    Raises:
        FusionError: An operation is not written as C, or there is no C compiler.
    """

    def __init__(
        self, module: GraphModule, inputs: Sequence[Tensor], groups: Sequence[int] | None = None
    ) -> None:
        translation = Translation(module, inputs)
        outputs = _distinct(translation.outputs)
        groups = [1] * len(outputs) if groups is None else groups
        self._kept = [*translation.constants, *translation.addresses]
        self._expected = [(t.shape, contiguous(t.shape), t.dtype) for t in inputs]
        self._real = translation.real
        ends = list(accumulate(groups, initial=0))
        self._sizes = [
            sum(value.size for value in outputs[start:end]) for start, end in pairwise(ends)
        ]
        source = _Source(translation, outputs, groups)
        self.text = source.text
        self._run = _compiled(self.text, self._real)
        self._workspace = torch.empty(source.num_bytes + ALIGNED, dtype=torch.uint8)
        first = self._workspace.data_ptr()
        self._memory = first + -first % ALIGNED
        pointers = [t.data_ptr() for t in translation.constants]
        pointers += [_address(kept) for kept in translation.addresses]
        count = len(inputs) + len(pointers) + len(groups)
        self._pointers = (ctypes.c_void_p * count)(*[0] * len(inputs), *pointers)
        self._steps = (ctypes.c_int64 * count)()
        width = torch.finfo(self._real).bits // 8
        for number, size in enumerate(self._sizes):
            self._steps[count - len(groups) + number] = size * width

    def __call__(self, inputs: Sequence[Tensor], members: int | None = None) -> list[Tensor]:
        """Compute the outputs.

        Args:
            inputs: Of the shapes and types that the program was made for.
            members: How many members there are, where an input may have a leading dimension of as
                many; what has none is shared.

        Returns:
            Each group of outputs as a vector, one after another; ``[members, ...]`` of them.

        Raises:
            ValueError: An input has another shape or type.
            MemoryError: There was none left.
        """
        held = []
        for number, (tensor, expected) in enumerate(zip(inputs, self._expected, strict=True)):
            shape, strides, dtype = expected
            is_shared = members is None or tensor.dim() == len(strides)
            own = tensor.shape if is_shared else tensor.shape[1:]
            is_whole = is_shared or len(tensor) == members
            if own != shape or not is_whole or tensor.dtype != dtype:
                found = f"{tuple(tensor.shape)} of {tensor.dtype}"
                raise ValueError(f"input {number}: expected {tuple(shape)} of {dtype}, got {found}")
            is_in_a_row = tensor.stride()[0 if is_shared else 1 :] == strides
            read = tensor if is_in_a_row else tensor.contiguous()
            held.append(read)
            self._pointers[number] = read.data_ptr()
            self._steps[number] = 0 if is_shared else read.stride(0) * read.element_size()
        several = () if members is None else (members,)
        outputs = [torch.empty(*several, size, dtype=self._real) for size in self._sizes]
        first = len(self._pointers) - len(outputs)
        for number, output in enumerate(outputs):
            self._pointers[first + number] = output.data_ptr()
        if self._run(1 if members is None else members, self._pointers, self._steps, self._memory):
            raise MemoryError("a fused step: no memory for a block of pairs")
        return outputs


class _Source:
    """The text of a program, and the memory that it needs between its steps."""

    def __init__(
        self, translation: Translation, outputs: Sequence[Value], groups: Sequence[int]
    ) -> None:
        schedule = scheduled(outputs)
        names = _names(schedule, outputs)
        emitter = Emitter(schedule, names)
        self.num_bytes, memory = _memory(schedule, outputs, names, translation.real)
        pointers = _declared(translation, outputs, groups)
        body = [*pointers, *memory, *emitter.calls]
        lines = [
            "int run(int64_t members, char *const *pointers, const int64_t *steps, char *memory) {",
            "    int failed = 0;",
            "    for (int64_t member = 0; member < members; member++) {",
            *(f"        {line}" for line in body),
            "    }",
            "    return failed;",
            "}",
        ]
        self.text = "\n".join([PRELUDE.read_text(), *emitter.functions, *lines, ""])


def _distinct(outputs: Sequence[Value]) -> list[Value]:
    """Outputs of which each has memory of its own to be written to."""
    found: list[Value] = []
    for value in outputs:
        if value.kind != "real":
            raise FusionError("an output that is no floating number")
        is_kept = value in found or isinstance(value, Stored)
        found.append(viewed(value, value.shape, lambda index: index) if is_kept else value)
    return found


def _names(schedule: Schedule, outputs: Sequence[Value]) -> dict[Value, str]:
    names = {value: f"out{number}" for number, value in enumerate(outputs)}
    for root in schedule.strides:
        names.setdefault(root, f"b{len(names)}")
    return names


def _memory(
    schedule: Schedule, outputs: Sequence[Value], names: dict[Value, str], real: torch.dtype
) -> tuple[int, list[str]]:
    """Bytes of the roots that are no outputs, and the lines that give each its part."""
    widths = {"real": torch.finfo(real).bits // 8, "int64_t": 8, "bool": 1}
    lines, end = [], 0
    for root in schedule.strides:
        if root in outputs or isinstance(root, Call):
            continue
        lines.append(f"{root.kind} *{names[root]} = ({root.kind} *)(memory + {end});")
        size = math.prod(root.shape) * widths[root.kind]
        end += size + -size % ALIGNED
    return end, lines


def _declared(
    translation: Translation, outputs: Sequence[Value], groups: Sequence[int]
) -> list[str]:
    """The lines that name what is given and what is to be written."""
    lines = []
    kinds = [*translation.kinds]
    for number, kind in enumerate(kinds):
        lines.append(_pointer(f"const {kind} *", f"p{number}", number))
    number = len(kinds)
    for place in range(len(translation.addresses)):
        lines.append(f"const void *a{place} = pointers[{number + place}];")
    number += len(translation.addresses)
    first = 0
    for group, count in enumerate(groups):
        lines.append(_pointer("real *", f"group{group}", number + group))
        offset = 0
        for place in range(first, first + count):
            lines.append(f"real *out{place} = group{group} + {offset};")
            offset += outputs[place].size
        first += count
    return lines


def _pointer(kind: str, name: str, number: int) -> str:
    return f"{kind}{name} = ({kind})(pointers[{number}] + member * steps[{number}]);"


def _address(kept: Any) -> int:
    if isinstance(kept, ctypes.Structure):
        return ctypes.addressof(kept)
    return ctypes.cast(kept, ctypes.c_void_p).value or 0


@cache
def _compiled(text: str, real: torch.dtype) -> Any:
    try:
        code = library_of(text, "step", *(["DOUBLE"] if real == torch.float64 else []))
    except (OSError, subprocess.SubprocessError) as error:
        raise FusionError(reason(error)) from error
    run = code.run
    run.argtypes = [ctypes.c_int64, *[ctypes.c_void_p] * 3]
    run.restype = ctypes.c_int
    return run
