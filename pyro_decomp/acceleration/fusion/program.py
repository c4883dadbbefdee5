"""A captured graph as a function in C: its loops, its memory, and calling it."""

import ctypes
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.acceleration.errors import FusionError
from pyro_decomp.acceleration.fusion.emit import Emitter
from pyro_decomp.acceleration.fusion.indexing import contiguous
from pyro_decomp.acceleration.fusion.memory import materialized
from pyro_decomp.acceleration.fusion.translate import Translation
from pyro_decomp.acceleration.fusion.values import Call, Stored, Value
from pyro_decomp.acceleration.fusion.views import copied
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
        self._expected = [(t.shape, contiguous(t.shape), t.dtype) for t in inputs]
        self._real = real = translation.real
        each = iter(outputs)
        self._sizes = [sum(value.size for value in islice(each, count)) for count in groups]

        strides = materialized(outputs)
        names = {value: f"out{number}" for number, value in enumerate(outputs)}
        inner = [v for v in strides if v not in names and not isinstance(v, Call)]
        names |= {value: f"b{number}" for number, value in enumerate(inner)}
        emitter = Emitter(strides, names)
        self._kept = [*translation.constants, *emitter.kept]
        num_bytes, memory = _memory(inner, names, real)
        pointers = _pointers(translation.kinds, len(emitter.kept), outputs, groups)
        self.text = _text(pointers, memory, emitter)
        self._run = _compiled(self.text, real)

        self._workspace = torch.empty(num_bytes + ALIGNED, dtype=torch.uint8)
        first = self._workspace.data_ptr()
        self._memory = first + -first % ALIGNED
        fixed = [t.data_ptr() for t in translation.constants] + list(map(_address, emitter.kept))
        steps = [size * torch.finfo(real).bits // 8 for size in self._sizes]
        rest = [0] * (len(inputs) + len(fixed))
        self._pointers = (ctypes.c_void_p * (len(rest) + len(steps)))(*[0] * len(inputs), *fixed)
        self._steps = (ctypes.c_int64 * (len(rest) + len(steps)))(*rest, *steps)

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
            is_contiguous = tensor.stride()[0 if is_shared else 1 :] == strides
            read = tensor if is_contiguous else tensor.contiguous()
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


def _distinct(outputs: Sequence[Value]) -> list[Value]:
    """Outputs of which each has memory of its own to be written to."""
    found: list[Value] = []
    for value in outputs:
        if value.kind != "real":
            raise FusionError("an output that is no floating number")
        found.append(copied(value) if value in found or isinstance(value, Stored) else value)
    return found


def _text(pointers: Sequence[str], memory: Sequence[str], emitter: Emitter) -> str:
    """The source, with what names the pointers, what divides the memory, and what is computed."""
    lines = [
        "int run(int64_t members, char *const *pointers, const int64_t *steps, char *memory) {",
        "    int failed = 0;",
        "    for (int64_t member = 0; member < members; member++) {",
        *(f"        {line}" for line in (*pointers, *memory, *emitter.calls)),
        "    }",
        "    return failed;",
        "}",
    ]
    return "\n".join([PRELUDE.read_text(), *emitter.functions, *lines, ""])


def _memory(
    kept: Sequence[Value], names: Mapping[Value, str], real: torch.dtype
) -> tuple[int, list[str]]:
    """Bytes of kept values that are no outputs, and the lines that give each its part."""
    widths = {"real": torch.finfo(real).bits // 8, "float": 4, "int64_t": 8, "bool": 1}
    lines, end = [], 0
    for value in kept:
        lines.append(f"{value.kind} *{names[value]} = ({value.kind} *)(memory + {end});")
        size = value.size * widths[value.kind]
        end += size + -size % ALIGNED
    return end, lines


def _pointers(
    kinds: Sequence[str], num_kept: int, outputs: Sequence[Value], groups: Sequence[int]
) -> list[str]:
    """The lines that name what is given, what calls need, and what is to be written."""
    found = [(f"const {kind} *", f"p{number}") for number, kind in enumerate(kinds)]
    found += [("const void *", f"a{number}") for number in range(num_kept)]
    found += [("real *", f"group{number}") for number in range(len(groups))]
    lines = [
        f"{kind}{name} = ({kind})(pointers[{number}] + member * steps[{number}]);"
        for number, (kind, name) in enumerate(found)
    ]
    each = iter(enumerate(outputs))
    for group, count in enumerate(groups):
        start = 0
        for number, value in islice(each, count):
            lines.append(f"real *out{number} = group{group} + {start};")
            start += value.size
    return lines


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
