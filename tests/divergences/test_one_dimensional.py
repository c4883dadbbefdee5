"""The operator that stands for sums over pairs on lines where values are hidden."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.acceleration.capture.tracing import traced
from pyro_decomp.divergences import nufft, one_dimensional
from pyro_decomp.divergences.kernels import RBF, InverseMultiquadratic, Kernel
from pyro_decomp.divergences.mmd import dimensionwise_mmd

B, S, D, K = 60, 50, 2, 3
KERNELS = [InverseMultiquadratic(), InverseMultiquadratic([0.5, 3.0]), RBF(), RBF(0.7)]
every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=repr)
Step = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


@pytest.fixture(params=["grid", "pairs"], autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nufft, "MOST_NODES", 2**20 if request.param == "grid" else 0)
    monkeypatch.setattr(nufft, "PAIRS_PER_NODE", 0.01)


def samples(*lead: int) -> tuple[Tensor, Tensor]:
    x = 0.3 + torch.tensor([0.5, 2.0]) * torch.randn(*lead, B, D)
    return x.double(), torch.randn(*lead, S, D).double()


def steps(kernel: Any, which: tuple[bool, bool] = (True, False)) -> Step:
    def step(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        both = [z.detach().requires_grad_(want) for z, want in zip((x, y), which, strict=True)]
        value = dimensionwise_mmd(*both, kernel)
        return value.detach(), *torch.autograd.grad(value, [z for z in both if z.requires_grad])

    return step


def captured(step: Step, *inputs: Tensor) -> GraphModule:
    graph = traced(step, inputs)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def assert_close(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def operators(graph: GraphModule) -> list[str]:
    names = [str(node.target) for node in graph.graph.nodes]
    return [name for name in names if name.startswith("pyro_decomp")]


@pytest.mark.full(but=["*-which0-RBF(bandwidth=0.7)"])
@every_kernel
@pytest.mark.parametrize("which", [(True, False), (True, True)])
def test_a_graph_holds_for_points_that_lie_elsewhere(
    kernel: Kernel, which: tuple[bool, bool]
) -> None:
    step = steps(kernel, which)
    graph = captured(step, *samples())
    assert operators(graph) == ["pyro_decomp.line_u_statistic.default"]
    for scale in (1.0, 1e-3, 40.0):
        x, y = samples()
        assert_close(graph(scale * x, y), step(scale * x, y))


@pytest.mark.full(but=["*-in_dims0-RBF(bandwidth=0.7)"])
@every_kernel
@pytest.mark.parametrize("in_dims", [(0, None), (None, 2)])
def test_over_members(kernel: Kernel, in_dims: tuple[int | None, ...]) -> None:
    step = steps(kernel)
    inputs = [
        one if dim is None else many.movedim(0, dim)
        for one, many, dim in zip(samples(), samples(K), in_dims, strict=True)
    ]
    found = torch.func.vmap(captured(step, *samples()), in_dims)(*inputs)
    functional = torch.func.vmap(
        torch.func.grad_and_value(lambda x, y: dimensionwise_mmd(x, y, kernel)), in_dims
    )(*inputs)
    for k in range(K):
        expected = step(
            *(
                x if dim is None else x.select(dim, k)
                for x, dim in zip(inputs, in_dims, strict=True)
            )
        )
        assert_close(tuple(one[k] for one in found), expected)
        assert_close(tuple(one[k] for one in reversed(functional)), expected)


def test_a_member_that_is_not_finite_leaves_the_others_as_they_are() -> None:
    step, (x, y) = steps(RBF(0.5)), samples(K)
    x[1, 3, 0] = torch.nan
    value, gradient = torch.func.vmap(captured(step, *samples()))(x, y)
    assert value.isnan().tolist() == [False, True, False]
    assert_close((value[2], gradient[2]), step(x[2], y[2]))


def test_a_function_of_the_users_own_is_captured_as_pairs() -> None:
    step = steps(lambda squared: torch.exp(-squared))
    graph = captured(step, *samples())
    assert operators(graph) == []
    inputs = samples()
    assert_close(graph(*inputs), step(*inputs))


def test_equal_kernels_share_a_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_dimensional, "_KERNELS", [])
    for _ in range(3):
        captured(steps(InverseMultiquadratic([0.5, 3.5])), *samples())
        captured(steps(RBF(0.1)), *samples())
    first, second = one_dimensional._KERNELS
    assert (first, second) == (InverseMultiquadratic([0.5, 3.5]), RBF(0.1))
    assert one_dimensional._handle(RBF(0.1)) == 1
    assert one_dimensional._handle(RBF(0.2)) == 2


def test_a_kernel_outlives_its_owner() -> None:
    class Own(Kernel):
        def fitted(self, x: Tensor, y: Tensor) -> Any:
            return RBF(0.4).fitted(x, y)

    inputs = samples()
    graph = captured(steps(Own()), *inputs)
    assert_close(graph(*inputs), steps(RBF(0.4))(*inputs))


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own check
@pytest.mark.parametrize("wants", [(True, False), (True, True)])
def test_the_operator_keeps_torchs_rules(wants: tuple[bool, bool]) -> None:
    x, y = (z.T.contiguous().requires_grad_(want) for z, want in zip(samples(), wants, strict=True))
    torch.library.opcheck(one_dimensional._op, (x, y, one_dimensional._handle(RBF(0.5)), *wants))
