"""A hash of what a step computes: equal for runs that differ in their tensors alone."""

import hashlib
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import pyro
import torch
from torch import Tensor

from pyro_decomp.acceleration.capture.functional_state import FunctionalState
from pyro_decomp.acceleration.capture.random_draws import lift
from pyro_decomp.acceleration.capture.tracing import functional, traced
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.programs.program_state.fingerprint import content


@dataclass(frozen=True)
class GraphHash:
    """What the forward pass of a step does.

    Attributes:
        digest: Of the computation graph: the operations in their order, what each is given, and all
            constants. Parameters, buffers that change, numbers that are inputs, data and draws are
            told by place alone.
        num_operations: How many operations there are.
        largest: Elements of the largest tensor among their results.
        is_convolutional: Whether a convolution is among them.
    """

    digest: str
    num_operations: int
    largest: int
    is_convolutional: bool


def graph_hash(source: StepSource, batch: Sequence[Tensor], weights: Sequence[str]) -> GraphHash:
    """Run a step's forward pass once and hash its graph; random generators move.

    Raises:
        CaptureError: Values of tensors decide what is computed, or a draw depends on parameters.
    """
    state = FunctionalState(source, batch, weights)

    def forward(*inputs: Tensor) -> list[Tensor]:
        *own, batch = state.split(inputs)
        with state.filled([*chain(*own)]), pyro.validation_enabled(False):
            return [source.evaluate(*batch).objective]

    copies = [buffer.clone() for buffer in state.buffers]
    numbers = state.inputs()[-len(state.weights) :] if state.weights else []
    inputs = [*state.trained, *state.frozen, *copies, *numbers, *batch]
    module = traced(forward, inputs)
    kinds = [node.meta.get("kind") for node in module.graph.nodes]
    found = hashlib.sha256(f"{module.graph}{kinds}".encode())
    for constant in module.buffers():
        found.update(content(constant))
    module = functional(module, [tensor.detach() for tensor in inputs])
    lift(module, state.where_frozen)
    nodes = [node for node in module.graph.nodes if node.op == "call_function"]
    results = [node.meta["kind"].shape for node in nodes if "kind" in node.meta]
    return GraphHash(
        found.hexdigest(),
        sum(node.target is not operator.getitem for node in nodes),
        max(map(math.prod, results), default=0),
        any(node.target is torch.ops.aten.convolution.default for node in nodes),
    )
