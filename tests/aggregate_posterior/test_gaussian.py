"""The operator inside torch's transforms: captured, mapped over members, compiled."""

import inspect
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_decomp.aggregate_posterior import gaussian, gaussian_native, pair_weights
from pyro_decomp.aggregate_posterior.gaussian import log_densities

K, D, M = 3, 2, 9
WEIGHTS = pair_weights("stratified", 100, M)
RANGES = (slice(0, 1),)


@pytest.fixture(params=["native", "torch"])
def _code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(gaussian_native, "compiled", lambda _: None)


def steps(split: bool) -> Callable[..., tuple[Tensor, ...]]:
    """A loss and its gradients by location and scale, as a step of training has them."""

    def step(z: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        loc, scale = (x.detach().requires_grad_() for x in (loc, scale))
        log_q = log_densities(z, loc, scale, WEIGHTS, RANGES, split=split)
        value = (log_q * torch.arange(1.0, 1 + len(log_q))[:, None]).sum()
        return (value.detach(), *torch.autograd.grad(value, [loc, scale]))

    return step


def members(*lead: int) -> tuple[Tensor, Tensor, Tensor]:
    z, loc = torch.randn(2, *lead, D, M, dtype=torch.double)
    return z, loc, torch.rand(*lead, D, M, dtype=torch.double) + 0.1


def captured(step: Callable[..., Any], inputs: Sequence[Tensor]) -> GraphModule:
    graph = make_fx(step)(*inputs)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def assert_each_member(
    found: Sequence[Tensor],
    step: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor],
    in_dims: Sequence[int | None],
) -> None:
    for k in range(K):
        member = [
            x if dim is None else x.select(dim, k) for x, dim in zip(inputs, in_dims, strict=True)
        ]
        for one, other in zip(found, step(*member), strict=True):
            torch.testing.assert_close(one[k], other, rtol=1e-12, atol=1e-12)


@pytest.mark.full(but=["*-in_dims0-True"])
@pytest.mark.usefixtures("_code")
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("in_dims", [(0, 0, 0), (None, 0, 0), (0, None, 2), (None, None, 1)])
def test_captured_once_and_mapped_over_members(
    in_dims: tuple[int | None, ...], split: bool
) -> None:
    step = steps(split)
    graph = captured(step, members())
    ours = [node for node in graph.graph.nodes if "pyro_decomp" in str(node.target)]
    assert [node.target._opname for node in ours] == [
        "gaussian_log_densities",
        "gaussian_log_densities_backward",
    ]
    assert ours[1].args[-1] is False  # no gradient by samples, which nobody asked for
    inputs = members()
    for one, other in zip(graph(*inputs), step(*inputs), strict=True):
        assert torch.equal(one, other)
    inputs = [
        one if dim is None else many.movedim(0, dim)
        for one, many, dim in zip(members(), members(K), in_dims, strict=True)
    ]
    assert_each_member(torch.func.vmap(graph, in_dims)(*inputs), step, inputs, in_dims)


@pytest.mark.slow  # where nothing was compiled before, it takes half a minute
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler")
def test_compiled_for_members() -> None:
    from torch._inductor import compile as compiled

    step, inputs, in_dims = steps(split=True), (members()[0], *members(K)[1:]), (None, 0, 0)
    graph = captured(torch.func.vmap(captured(step, members()), in_dims), inputs)
    assert_each_member(compiled(graph, list(inputs))(*inputs), step, inputs, in_dims)


@pytest.mark.usefixtures("_code")
def test_gradients_of_torch_func() -> None:
    z, loc, scale = members(K)

    def loss(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        return log_densities(z, loc, scale, WEIGHTS).sum()

    gradients = torch.func.vmap(torch.func.grad(loss, (0, 1, 2)), (0, None, 0))(z, loc[0], scale)

    def alone(z: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        inputs = [x.clone().requires_grad_() for x in (z, loc[0], scale)]
        return torch.autograd.grad(loss(*inputs), inputs)

    assert_each_member(gradients, alone, (z, scale), (0, 0))
    outer = torch.func.grad(lambda x: torch.func.vmap(loss, (0, None, None))(z, x, scale[0]).sum())
    apart = [alone(one, scale[0])[1] for one in z]
    torch.testing.assert_close(outer(loc[0]), torch.stack(apart).sum(0), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("_code")
def test_members_of_members() -> None:
    inputs = members(2, K)
    score = lambda *x: log_densities(*x, WEIGHTS, RANGES, split=True)  # noqa: E731
    nested = torch.func.vmap(torch.func.vmap(score))(*inputs)
    assert torch.equal(nested, score(*inputs))
    assert torch.equal(nested[1, 2], score(*(x[1, 2] for x in inputs)))


@pytest.mark.full
def test_torch_compile_sees_one_operator() -> None:
    seen: list[str] = []

    def backend(graph: GraphModule, _: Any) -> Callable[..., Any]:
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    compiled = torch.compile(
        lambda *x: inspect.unwrap(log_densities)(*x, WEIGHTS), fullgraph=True, backend=backend
    )
    inputs = [x.requires_grad_() for x in members()]
    found = torch.autograd.grad(compiled(*inputs).sum(), inputs)
    assert seen == ["pyro_decomp.gaussian_log_densities.default"]
    expected = torch.autograd.grad(log_densities(*inputs, WEIGHTS).sum(), inputs)
    assert all(map(torch.equal, found, expected))


@pytest.mark.full
@pytest.mark.usefixtures("_code")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own check
@pytest.mark.parametrize("split", [False, True])
def test_the_operators_keep_torchs_rules(split: bool) -> None:
    inputs = [x.requires_grad_() for x in members()]
    rest = (None, [-1.0, -2.0, -1.0], [0, 1] if split else [], split)
    torch.library.opcheck(gaussian.forward, (*inputs, *rest))
    out = gaussian.forward(*inputs, *rest).detach()
    for with_z in (False, True):
        given = (*(x.detach() for x in inputs), None, out, torch.randn_like(out), *rest[1:], with_z)
        torch.library.opcheck(gaussian.backward, given)


def test_a_second_derivative_is_refused() -> None:
    z, loc, scale = members()
    once = pytest.raises(RuntimeError, match="differentiated once, got a gradient of a gradient")

    def loss(loc: Tensor) -> Tensor:
        return log_densities(z, loc, scale, WEIGHTS).sum()

    with once:
        torch.func.grad(lambda x: torch.func.grad(loss)(x).sum())(loc)
    loc.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(loc), loc, create_graph=True)
    with once:
        gradient.sum().backward()
