"""Precision, memory format and threads, tried on the programs before they are taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from pyro_decomp.acceleration.steps.eager import EagerStep
from pyro_decomp.acceleration.steps.execution import Execution
from pyro_decomp.acceleration.steps.graph import is_convolutional
from pyro_decomp.acceleration.threads import is_small
from pyro_decomp.data.batches import Batch
from pyro_decomp.errors import ExperimentError, ModelError, NonFiniteError
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.state import State
from pyro_decomp.training.user_code import one_line


def resolve(asked: Execution, experiment: Experiment, state: State) -> Execution:
    """Replace "auto" in everything but ``steps``, and change the networks' memory format.

    What is not as the programs were written, channels last or bfloat16, is tried on the first batch
    and on the last, smaller one. Where "auto" took it, it is dropped if the programs do not allow
    it, and the networks are as they were.

    Raises:
        ExperimentError: It was asked for, and the programs do not allow it.
    """
    device = next(iter(state.parameters.values())).device
    precision, layout, threads = asked.precision, asked.memory_format, asked.threads
    if precision == "auto":  # bfloat16 is faster where there is hardware, and trains otherwise
        precision = "float32"
    if threads is None and device.type == "cpu":
        threads = 1 if is_small(experiment) else torch.get_num_threads()
    if precision != "float32" and (reason := _why_not(experiment, state, precision)):
        raise ExperimentError(f"precision: expected float32 or auto, as the programs fail {reason}")
    why_format = asked.why_format  # of a run that goes on
    if layout == "auto":
        layout = "channels_last" if is_convolutional(state) else "contiguous"
    if layout == "channels_last":
        before = [(p, p.data) for module in state.modules for p in _tensors(module)]
        for module in state.modules:
            module.to(memory_format=torch.channels_last)
        if why_format := _why_not(experiment, state, precision):
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


def last_batch(experiment: Experiment) -> Batch | None:
    """Data of the shape of the last, smaller batch; None where all are alike."""
    data = experiment.data
    rest = len(data) % min(experiment.batch_size or len(data), len(data))
    return data[-rest:] if rest else None


def first_batch(experiment: Experiment) -> Batch:
    """Data of the shape of the first batch."""
    data = experiment.data
    return data[: min(experiment.batch_size or len(data), len(data))]


def _tensors(module: torch.nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _why_not(experiment: Experiment, state: State, precision: str) -> str:
    """How the programs fail on a batch, with gradients and in evaluation; empty if they do not."""
    eager = EagerStep(experiment, state, precision)
    modes = [(part, part.training) for module in state.modules for part in module.modules()]
    batches = [b for b in (first_batch(experiment), last_batch(experiment)) if b is not None]
    try:
        with _untouched(state):
            state.train(True)
            for batch in batches:
                eager(batch, 1)
            state.train(False)
            eager.estimate(batches[0], 1)
    except (NonFiniteError, ModelError):  # told of when training begins
        return ""
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        return f"({one_line(error)})"
    finally:
        for part, mode in modes:
            part.training = mode
    return ""


@contextmanager
def _untouched(state: State) -> Iterator[None]:
    """Put back what running the programs moves, and the gradients."""
    slopes = [(p, p.grad) for p in state.parameters.values()]
    try:
        with state.program.undisturbed():
            yield
    finally:
        for parameter, slope in slopes:
            parameter.grad = slope
