"""Which way of computing steps pays, decided before the first step and the same every time."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from pyro_decomp.acceleration.capture import CaptureError
from pyro_decomp.acceleration.capture.compiled import why_not
from pyro_decomp.acceleration.flat_parameters import can_be_flat
from pyro_decomp.acceleration.fusion import FusionError
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.acceleration.steps import backends
from pyro_decomp.acceleration.steps.audit import Audit
from pyro_decomp.acceleration.steps.eager import EagerStep
from pyro_decomp.acceleration.steps.execution import Execution
from pyro_decomp.acceleration.steps.graph import GraphStep
from pyro_decomp.data.batches import Batch
from pyro_decomp.errors import ExperimentError, NonFiniteError, one_line

# Seconds, on the 2-core machine that docs/speed.md tells of. Only their ratios matter.
SAVED_BY_REPLAYING = 12e-6  # an operation and step, of Pyro's handlers and autograd
SAVED_BY_COMPILING = 22e-6  # an operation and step, of these and of starting operations
SAVED_BY_FUSING = 25e-6
CAPTURING = 0.5, 1e-3  # once, and an operation
COMPILING = 20.0, 120e-3  # with nothing of the compiler's in its cache, as the others
FUSING = 0.8, 5e-3  # capturing included
MARGIN = 1.25  # what a choice must win more than it costs


def choose(
    execution: Execution,
    source: StepSource,
    optimizer: torch.optim.Optimizer,
    *,
    is_resumed: bool = False,
) -> tuple[EagerStep | GraphStep, Execution]:
    """What computes the steps, and the execution with "auto" replaced in ``steps`` too.

    What does not run the programs is held against them on the first batch.

    Args:
        execution: As :func:`resolve` gave it.
        source: What is trained.
        optimizer: One of the kind that will train them.
        is_resumed: The run was begun so, maybe on another machine: replay what cannot be translated
            on this one.

    Raises:
        ExperimentError: It asks for steps that cannot be had.
    """
    eager = EagerStep(source, execution.precision)
    asked, total = execution.steps, source.programs.total_steps
    if asked == "eager":
        return eager, execution
    if asked == "auto" and not _pays_at_all(total):
        return eager, replace(execution, steps="eager", why=_too_few(total))
    step = GraphStep(source, execution.precision)
    batch = source.batches[0]
    reason = _why_not_captured(step, source)
    how, why = "eager", reason
    if not reason:
        is_flat = can_be_flat(step.trained, optimizer)
        how, why = _translated(
            step, execution, total, batch, is_flat=is_flat, is_resumed=is_resumed
        )
        if how == "eager":
            return eager, replace(execution, steps=how, why=why)
        reason = _disagreement(step, source, execution.precision)
    if reason and asked != "auto":
        raise ExperimentError(f"steps: expected eager or auto, as {reason}")
    if reason:
        return eager, replace(execution, steps="eager", why=reason)
    return step, replace(execution, steps=how, why=why)


def _disagreement(step: GraphStep, source: StepSource, precision: str) -> str:
    """What differs between a step and the programs on the first batch; nothing stays moved."""
    audit, batch = Audit(source, precision), source.batches[0]
    try:
        wanted = audit.by_programs(batch, 1, has_gradients=True)
        with audit.unmoved():
            found = audit.of_step(step, step(batch, 1).values)
            return audit.disagreement(wanted, found, batch, 1)
    except NonFiniteError:  # told of when training begins
        return ""
    finally:
        for parameter in step.trained:
            parameter.grad = None


def _translated(
    step: GraphStep,
    execution: Execution,
    total: int,
    batch: Batch,
    *,
    is_flat: bool,
    is_resumed: bool,
) -> tuple[str, str]:
    """Translate a captured step as asked for, or as pays; how that is called, and why."""
    asked = execution.steps
    if asked == "captured":
        return asked, ""
    translate = partial(_why_not_translated, step, batch, is_flat=is_flat)
    if asked == "auto":
        operations = step.captured(batch).num_operations
        return _what_pays_here(step, execution, total, operations, translate)
    missing = translate(asked)
    if not missing:
        return asked, ""
    if not is_resumed:
        raise ExperimentError(f"steps: expected eager, captured or auto, as {missing}")
    step.use(backends.replayed, batch, is_flat=is_flat)
    return "captured", missing


def _why_not_translated(step: GraphStep, batch: Batch, how: str, *, is_flat: bool) -> str:
    """Fuse or compile a step; why that cannot be done, empty if it was."""
    if how == "fused":
        try:
            step.use(backends.by_fusion, batch, is_flat=is_flat)
        except FusionError as error:
            return f"it cannot be fused: {error}"
        return ""
    missing = why_not(step.trained[0].device.type)
    if not missing:
        try:
            step.use(backends.by_compiler, batch, is_flat=is_flat)
        except RuntimeError as error:
            return f"torch's compiler failed: {one_line(error)}"
    return missing


def _what_pays_here(
    step: GraphStep,
    execution: Execution,
    total: int,
    operations: int,
    translate: Callable[[str], str],
) -> tuple[str, str]:
    """Translate a step by the fastest of the ways that pay and can be had."""
    why = f"{total} of {operations} operations"
    if execution.threads == 1 and _wins(SAVED_BY_FUSING, FUSING, total, operations):
        missing = translate("fused")  # fused steps have one thread
        if not missing:
            return "fused", why
        why += f"; {missing}"
    how = _what_pays(total, operations)
    if how == "eager":
        return how, _too_few(total)
    if how == "compiled":
        missing = "compiling does not make convolutions faster"
        if not step.is_convolutional:
            missing = translate(how)
        if missing:
            return "captured", missing
    return how, why


def _why_not_captured(step: GraphStep, source: StepSource) -> str:
    if source.programs.auxiliaries:
        return "the objective trains networks of its own on the programs' traces"
    try:
        step.captured(source.batches[0])
    except CaptureError as error:
        return str(error)
    return ""


def _pays_at_all(total_steps: int) -> bool:
    """Whether anything but eager steps could pay, whatever the number of operations."""
    many = 10**9
    is_fused = _wins(SAVED_BY_FUSING, FUSING, total_steps, many)
    return is_fused or _what_pays(total_steps, many) != "eager"


def _too_few(total_steps: int) -> str:
    return f"{total_steps} are too few for capturing to pay"


def _what_pays(total_steps: int, operations: int) -> str:
    """Whether steps of so many operations are to be "eager", "captured" or "compiled"."""
    if _wins(SAVED_BY_COMPILING, COMPILING, total_steps, operations):
        return "compiled"
    is_long = _wins(SAVED_BY_REPLAYING, CAPTURING, total_steps, operations)
    return "captured" if is_long else "eager"


def _wins(saved: float, cost: tuple[float, float], total_steps: int, operations: int) -> bool:
    """Whether what is saved an operation and step is enough more than what it costs once."""
    return total_steps * operations * saved > MARGIN * (cost[0] + operations * cost[1])
