"""One training step, loss to gradients, as a graph of tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.acceleration.capture.followed import is_followed, quiet
from pyro_decomp.acceleration.capture.functional import functional
from pyro_decomp.acceleration.capture.random_draws import lift
from pyro_decomp.acceleration.capture.recording import record
from pyro_decomp.acceleration.capture.repeats import check_unread, refuse_moving, tensors_that_move
from pyro_decomp.acceleration.capture.simplify import simplify
from pyro_decomp.acceleration.capture.substitution import Slots
from pyro_decomp.acceleration.errors import (
    CaptureError,
    HiddenValueError,
    UsedByPythonError,
)
from pyro_decomp.acceleration.precision import in_precision
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.elbo import Estimate


@dataclass(frozen=True)
class StepGraph:
    """A step of one source for one shape of batch.

    Attributes:
        slots: Where its first inputs are found, in the order trained, frozen, buffers, weights;
            then come the batch and the draws.
        module: Takes the inputs; gives the values, the gradients of what is trained, and buffers
            as they are afterwards.
        draw: Gives the draws, in the programs' order, from the global generator.
        names: Of the values: ``objective``, ``elbo`` and every term.
        has_gradient: Of each that is trained, whether the objective depends on it; where it does
            not, the module gives zeros, and an optimiser is to be given none.
        assigned: Of each buffer, whether the programs assign it anew rather than write to it.
    """

    slots: Slots
    module: GraphModule
    draw: GraphModule
    names: tuple[str, ...]
    has_gradient: tuple[bool, ...]
    assigned: tuple[bool, ...]

    @property
    def num_operations(self) -> int:
        """Operations in the graph."""
        return sum(node.op == "call_function" for node in self.module.graph.nodes)


def named_values(estimate: Estimate) -> dict[str, Tensor]:
    """What is logged of an estimate, by name."""
    return {"objective": estimate.objective, "elbo": estimate.elbo, **estimate.terms}


def capture(
    source: StepSource,
    batch: Sequence[Tensor],
    weights: Sequence[str] = (),
    precision: str = "float32",
) -> StepGraph:
    """Take down one step. Random generators and buffers are as before afterwards.

    Python runs once: numbers that it computes become constants, and so do choices that it makes.
    Numbers that are to change are named in ``weights``.

    Args:
        source: What is trained, its networks in training mode.
        batch: A batch, as the programs take it.
        weights: Names of the numbers that are inputs.
        precision: Of the products of networks.

    Raises:
        CaptureError: The programs let values of tensors decide what they compute, draw what depends
            on parameters in a way that cannot be taken out, or cannot be traced; or Python uses a
            number that is to be an input.
    """
    try:
        with quiet():
            return _captured(source, batch, weights, precision)
    except UsedByPythonError:
        raise
    except CaptureError as error:
        if used := _used_by_python(source, batch, weights, precision):
            raise UsedByPythonError(_use(used, "a schedule changes")) from error
        raise


def _used_by_python(
    source: StepSource,
    batch: Sequence[Tensor],
    weights: Sequence[str],
    precision: str,
) -> list[str]:
    """Which numbers keep a step from being captured that could be if none changed."""

    def is_captured(*names: str) -> bool:
        try:
            with quiet():
                _captured(source, batch, names, precision)
        except CaptureError:
            return False
        return True

    if not weights or not is_captured():
        return []
    return [name for name in weights if not is_captured(name)]


def _captured(
    source: StepSource,
    batch: Sequence[Tensor],
    weights: Sequence[str],
    precision: str,
) -> StepGraph:
    refuse_moving(source)
    slots = Slots(source, batch, weights)
    names: list[str] = []
    has_gradient: list[bool] = []
    assigned: list[bool] = []

    def step(*inputs: Tensor) -> list[Tensor]:
        trained, frozen, buffers, numbers, batch = slots.split(inputs)
        pairs = zip(trained, slots.trained, strict=True)
        leaves = [given.detach().requires_grad_(own.requires_grad) for given, own in pairs]
        copies = [buffer.clone() for buffer in buffers]
        with (
            slots.filled(leaves, frozen, copies, numbers),
            pyro.validation_enabled(False),
            in_precision(precision),
        ):
            estimate = source.evaluate(*batch)
            found = _gradients(-estimate.objective, leaves)
            updated = slots.left()
        assigned[:] = [own is not given for own, given in zip(updated, copies, strict=True)]
        gradients = [
            torch.zeros_like(leaf) if gradient is None else gradient
            for leaf, gradient in zip(leaves, found, strict=True)
        ]
        has_gradient[:] = [gradient is not None for gradient in found]
        values = named_values(estimate)
        names[:] = values
        return [torch.stack([value.detach() for value in values.values()]), *gradients, *updated]

    inputs = [*slots.inputs(), *batch]
    with source.python.preserving_rng_and_buffers():
        moving = tensors_that_move(source, batch)
        before = source.python.fingerprint()
        try:
            recorded = record(step, inputs)
            check_unread(moving, before, recorded)
            module = functional(recorded, inputs)
        except HiddenValueError as error:
            raise _named(error, slots) from error
        except CaptureError:
            raise
        except Exception as error:
            raise CaptureError(_reason(error)) from error
    draw = lift(module)
    simplify(draw)
    simplify(module)
    if weights:
        first = len(slots.trained) + len(slots.frozen) + len(slots.buffers)
        with source.python.preserving_rng_and_buffers():
            if not is_followed(
                source, weights, inputs, first=first, step=step, module=module, draw=draw
            ):
                raise CaptureError(f"{' or '.join(weights)} becomes a constant")
    return StepGraph(slots, module, draw, tuple(names), tuple(has_gradient), tuple(assigned))


def _gradients(loss: Tensor, leaves: Sequence[Tensor]) -> list[Tensor | None]:
    """By each leaf; None where it asks for none, or the loss does not depend on it."""
    asking = [leaf for leaf in leaves if leaf.requires_grad]
    found = iter(torch.autograd.grad(loss, asking, allow_unused=True))
    return [next(found) if leaf.requires_grad else None for leaf in leaves]


def _named(error: HiddenValueError, slots: Slots) -> CaptureError:
    """The same, with the names of the numbers and buffers where Python asks for those."""
    if not error.inputs and isinstance(error.__cause__, HiddenValueError):  # raised anew
        return _named(error.__cause__, slots)
    names, first = slots.names(), len(slots.trained)
    if not error.inputs or not all(first <= index < len(names) for index in error.inputs):
        return error
    found = [names[index] for index in error.inputs]
    is_number = len(names) - len(slots.weights) <= min(error.inputs)
    return UsedByPythonError(_use(found, "a schedule changes" if is_number else "steps may change"))


def _use(names: Sequence[str], who: str) -> str:
    one = len(names) == 1
    return (
        f"{' and '.join(names)} {'is' if one else 'are'} used by Python (as in `if` or "
        f"`math.exp`), and {who} {'it' if one else 'them'}"
    )


def _reason(error: Exception) -> str:
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "mutating a non-functional tensor" in str(error):
        return "the programs write to a tensor of their own"
    return f"they cannot be traced: {type(error).__name__}: {message}"
