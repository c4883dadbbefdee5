"""Precision, memory format and threads, tried on the programs before they are taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.acceleration.steps.eager import EagerStep
from pyro_decomp.acceleration.steps.execution import Execution
from pyro_decomp.acceleration.steps.graph import is_convolutional
from pyro_decomp.acceleration.threads import is_small
from pyro_decomp.errors import ExperimentError, ModelError, NonFiniteError, one_line


def resolve(asked: Execution, source: StepSource) -> Execution:
    """Replace "auto" in everything but ``steps``, and change the networks' memory format.

    What is not as the programs were written, channels last or bfloat16, is tried on the first batch
    and on the last, smaller one. Where "auto" took it, it is dropped if the programs do not allow
    it, and the networks are as they were.

    Raises:
        ExperimentError: It was asked for, and the programs do not allow it.
    """
    device = next(iter(source.parameters.values())).device
    precision, layout, threads = asked.precision, asked.memory_format, asked.threads
    if precision == "auto":  # bfloat16 is faster where there is hardware, and trains otherwise
        precision = "float32"
    if threads is None and device.type == "cpu":
        threads = 1 if is_small(source.batches[0]) else torch.get_num_threads()
    if precision != "float32" and (reason := _why_not(source, precision)):
        raise ExperimentError(f"precision: expected float32 or auto, as the programs fail {reason}")
    why_format = asked.why_format  # of a run that goes on
    if layout == "auto":
        layout = "channels_last" if is_convolutional(source) else "contiguous"
    if layout == "channels_last":
        before = [(p, p.data) for module in source.modules for p in _tensors(module)]
        for module in source.modules:
            module.to(memory_format=torch.channels_last)
        if why_format := _why_not(source, precision):
            for tensor, data in before:
                tensor.data = data
            why_format = f"the programs fail under channels_last {why_format}"
            if asked.memory_format == layout:
                raise ExperimentError(
                    f"memory_format: expected contiguous or auto, as {why_format}"
                )
            layout = "contiguous"
    return replace(
        asked,
        precision=precision,
        memory_format=layout,
        threads=threads,
        why_format=why_format,
    )


def _tensors(module: torch.nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _why_not(source: StepSource, precision: str) -> str:
    """How the programs fail on a batch, with gradients and in evaluation; empty if they do not."""
    eager = EagerStep(source, precision)
    modes = [(part, part.training) for module in source.modules for part in module.modules()]
    try:
        with _untouched(source):
            source.train(True)
            for batch in source.batches:
                eager(batch, 1)
            source.train(False)
            eager.estimate(source.batches[0], 1)
    except (NonFiniteError, ModelError):  # told of when training begins
        return ""
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        return f"({one_line(error)})"
    finally:
        for part, mode in modes:
            part.training = mode
    return ""


@contextmanager
def _untouched(source: StepSource) -> Iterator[None]:
    """Put back what running the programs moves, and the gradients."""
    slopes = [(p, p.grad) for p in source.parameters.values()]
    try:
        with source.python.preserving_rng_and_buffers():
            yield
    finally:
        for parameter, slope in slopes:
            parameter.grad = slope
