"""Functions of tensors as graphs, as the package captures them, and as programs in C."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.acceleration.capture.simplify import simplify
from pyro_decomp.acceleration.capture.tracing import functional, traced
from pyro_decomp.acceleration.fusion import Program

Function = Callable[..., Sequence[Tensor]]
every_type = pytest.mark.parametrize(
    "real", [torch.float32, torch.float64], ids=["float32", "float64"]
)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def graph_of(function: Function, inputs: Sequence[Tensor]) -> GraphModule:
    module = functional(traced(function, inputs), inputs)
    simplify(module)
    return module


def program_of(function: Function, inputs: Sequence[Tensor]) -> Program:
    return Program(graph_of(function, inputs), inputs)


def gradients(function: Function, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Of a weighted sum of all that a function gives, by those of the inputs that are floating."""
    leaves = [t.detach().requires_grad_() if t.is_floating_point() else t for t in inputs]
    given = [result for result in function(*leaves) if result.requires_grad]
    weights = [torch.linspace(0.5, 1.5, result.numel()).to(result) for result in given]
    total = sum((w.view(r.shape) * r).sum() for w, r in zip(weights, given, strict=True))
    asked = [leaf for leaf in leaves if leaf.requires_grad]
    found = torch.autograd.grad(total, asked, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(asked, found, strict=True)]


def assert_same(found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> None:
    """Each the same, relative to its largest finite number, or to a thousandth."""
    for one, other in zip(found, wanted, strict=True):
        expected = other.detach().flatten().to(one)
        finite = expected[expected.isfinite()].abs()
        scale = max(finite.max().item(), 1e-3) if finite.numel() else 1.0
        torch.testing.assert_close(
            one, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True
        )
