"""How steps are computed, decided before the first one and the same every time. Internal."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from pyro_decomp.acceleration import backends
from pyro_decomp.acceleration.capture import CaptureError
from pyro_decomp.acceleration.capture.compiled import unavailable_reason
from pyro_decomp.acceleration.capture.places import places_of
from pyro_decomp.acceleration.eager import EagerStep
from pyro_decomp.acceleration.execution import Execution
from pyro_decomp.acceleration.flat_parameters import can_be_flat
from pyro_decomp.acceleration.fusion import FusionError
from pyro_decomp.acceleration.graph import GraphStep, is_convolutional
from pyro_decomp.acceleration.process import is_small
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.acceleration.verification import Audit
from pyro_decomp.data.batches import Batch
from pyro_decomp.errors import ExperimentError, ModelError, NonFiniteError, one_line
from pyro_decomp.programs.program_state.modules import in_mode

# Seconds, on the 2-core machine that docs/speed.md tells of. Only their ratios matter.
SAVED_BY_REPLAYING = 12e-6  # an operation and step, of Pyro's handlers and autograd
SAVED_BY_COMPILING = 22e-6  # an operation and step, of these and of starting operations
SAVED_BY_FUSING = 25e-6
CAPTURING = 0.5, 1e-3  # once, and an operation
COMPILING = 20.0, 120e-3  # with nothing of the compiler's in its cache, as the others
FUSING = 0.8, 5e-3  # capturing included
MARGIN = 1.25  # what a choice must win more than it costs


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
    if precision != "float32" and (reason := _failure(source, precision)):
        raise ExperimentError(f"precision: expected float32 or auto, as the programs fail {reason}")
    why_format = asked.why_format  # of a run that goes on
    if layout == "auto":
        layout = "channels_last" if is_convolutional(source) else "contiguous"
    if layout == "channels_last":
        before = [(place.tensor, place.tensor.data) for place in places_of(source)]
        for module in source.modules:
            module.to(memory_format=torch.channels_last)
        if why_format := _failure(source, precision):
            for tensor, data in before:
                tensor.data = data
            why_format = f"the programs fail under channels_last {why_format}"
            if asked.memory_format == layout:
                raise ExperimentError(
                    f"memory_format: expected contiguous or auto, as {why_format}"
                )
            layout = "contiguous"
    settled = replace(asked, precision=precision, memory_format=layout, threads=threads)
    return replace(settled, why_format=why_format)


def _failure(source: StepSource, precision: str) -> str:
    """How the programs fail on a batch, with gradients and in evaluation; empty if they do not."""
    eager = EagerStep(source, precision)
    try:
        with Audit(source, precision).unmoved():
            with in_mode(source.modules, training=True):
                for batch in source.batches:
                    eager(batch, 1)
            with in_mode(source.modules, training=False):
                eager.estimate(source.batches[0], 1)
    except (NonFiniteError, ModelError):  # told of when training begins
        return ""
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        return f"({one_line(error)})"
    return ""


def choose(
    execution: Execution,
    source: StepSource,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    is_resumed: bool = False,
) -> tuple[EagerStep | GraphStep, Execution]:
    """What computes the steps, and the execution with "auto" replaced in ``steps`` too.

    What does not run the programs is held against them on the first batch.

    A run that is resumed was begun so, maybe on another machine: what cannot be translated on this
    one is replayed, and what cannot be replayed is run by the programs.

    Raises:
        ExperimentError: It asks for steps that cannot be had, and is not resumed.
    """
    eager = EagerStep(source, execution.precision)
    asked, batch, total = execution.steps, source.batches[0], source.programs.total_steps
    if asked == "eager":
        return eager, execution
    if asked == "auto" and not _paying(total, operations=10**9):
        return eager, replace(execution, steps="eager", why=_too_few(total))
    step = GraphStep(source, execution.precision)
    try:
        if source.programs.auxiliaries:
            raise CaptureError("the objective trains networks of its own on the programs' traces")
        operations = step.captured(batch).num_operations
    except CaptureError as error:
        reason = str(error)
    else:
        is_flat = optimizer is not None and can_be_flat(step.trained, optimizer)
        translate = partial(_why_not_translated, step, batch, is_flat=is_flat)
        if asked == "auto":
            how, why = _what_pays_here(operations, execution, source, translate)
        else:
            how, why = asked, translate(asked)
        if why and asked != "auto":
            if not is_resumed:
                raise ExperimentError(f"steps: expected eager, captured or auto, as {why}")
            how = "captured"
            step.use(backends.replayed, batch, is_flat=is_flat)
        if how == "eager":
            return eager, replace(execution, steps=how, why=why)
        reason = _disagreement(step, source, execution.precision)
        if not reason:
            return step, replace(execution, steps=how, why=why)
    if asked != "auto" and not is_resumed:
        raise ExperimentError(f"steps: expected eager or auto, as {reason}")
    return eager, replace(execution, steps="eager", why=reason)


def _disagreement(step: GraphStep, source: StepSource, precision: str) -> str:
    """What differs between a step and the programs on the first batch; nothing stays moved."""
    audit, batch = Audit(source, precision), source.batches[0]
    try:
        wanted = audit.by_programs(batch, 1, has_gradients=True)
        with audit.unmoved():
            values = step(batch, 1).values
            return audit.disagreement(wanted, values, step.gradients())
    except NonFiniteError:  # told of when training begins
        return ""
    finally:
        for parameter in step.trained:
            parameter.grad = None


def _why_not_translated(step: GraphStep, batch: Batch, how: str, *, is_flat: bool) -> str:
    """Fuse or compile a step, where that is asked for; why that cannot be done, or empty."""
    if how == "fused":
        try:
            step.use(backends.by_fusion, batch, is_flat=is_flat)
        except FusionError as error:
            return f"it cannot be fused: {error}"
    missing = unavailable_reason(step.trained[0].device.type) if how == "compiled" else ""
    if how == "compiled" and not missing:
        try:
            step.use(backends.by_compiler, batch, is_flat=is_flat)
        except RuntimeError as error:
            return f"torch's compiler failed: {one_line(error)}"
    return missing


def _what_pays_here(
    operations: int, execution: Execution, source: StepSource, translate: Callable[[str], str]
) -> tuple[str, str]:
    """Translate a step in the fastest of the ways that pay and can be had; its name, and why."""
    total = source.programs.total_steps
    why = f"{total} of {operations} operations"
    for how in _paying(total, operations):
        if how == "fused" and execution.threads != 1:  # fused steps have one thread
            continue
        if how == "compiled" and is_convolutional(source):
            missing = "compiling does not make convolutions faster"
        else:
            missing = translate(how)
        if not missing:
            return how, why
        why += f"; {missing}"
    return "eager", _too_few(total)


def _paying(total_steps: int, operations: int) -> list[str]:
    """The ways that save enough more by so many operations than they cost, the fastest first."""
    ways = {
        "fused": (SAVED_BY_FUSING, *FUSING),
        "compiled": (SAVED_BY_COMPILING, *COMPILING),
        "captured": (SAVED_BY_REPLAYING, *CAPTURING),
    }
    return [
        how
        for how, (saved, once, each) in ways.items()
        if total_steps * operations * saved > MARGIN * (once + operations * each)
    ]


def _too_few(total_steps: int) -> str:
    return f"{total_steps} are too few for capturing to pay"
