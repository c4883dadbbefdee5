"""Recorded functions against the functions themselves, on inputs and draws of another run."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp.acceleration.capture.tracing import functional, is_writing, traced
from pyro_decomp.acceleration.errors import CaptureError, HiddenValueError

CONSTANT = torch.tensor([2.0, 3.0, 4.0])
NET = nn.Linear(3, 2)


def gradients(x: Tensor) -> list[Tensor]:
    leaf = x.detach().requires_grad_()
    (first,) = torch.autograd.grad(NET(leaf).exp().sum(), leaf, create_graph=True)
    return list(torch.autograd.grad(first.square().sum(), leaf))


def filled_under_another_name(x: Tensor) -> list[Tensor]:
    tensor = torch.empty(3)
    name = tensor.detach()
    name.normal_()
    return [name * x, tensor]


def filled_under_a_view(x: Tensor) -> list[Tensor]:
    tensor = torch.empty(6)
    view = tensor[:3]
    tensor.uniform_()
    return [view * x, tensor]


def filled_twice(x: Tensor) -> list[Tensor]:
    tensor = torch.empty(3).normal_()
    double = 2 * tensor
    tensor.uniform_()
    return [double * x, tensor]


def written(x: Tensor) -> list[Tensor]:
    tensor = torch.zeros(3)
    tensor[1] = x.sum()
    view = tensor[1]
    tensor.add_(1)
    return [view * tensor]


def constant_copied(x: Tensor) -> list[Tensor]:
    one = torch.tensor(1.0)
    return [one.add_(x.sum())]


FUNCTIONS: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "gradients of gradients": gradients,
    "several results": lambda x: list(x.max(1)) + list(x.split(1)),
    "draws": lambda x: [torch.rand(3) * torch.randn_like(x) + torch.normal(x, 1.0)],
    "a fill under another name": filled_under_another_name,
    "a fill under a view": filled_under_a_view,
    "two fills": filled_twice,
    "other writing": written,
    "a constant that is written to": constant_copied,
    "a value of a constant": lambda x: [x * CONSTANT.max().item()],
    "an array of a constant": lambda x: [x * CONSTANT.numpy().max() + sum(CONSTANT.tolist())],
    "vmap": lambda x: [torch.vmap(lambda row: row.sin() * CONSTANT)(x)],
    "an input, and one result twice": lambda x: [x, (y := x + 1), y],
    "data": lambda x: [x.data * 2],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_graph_is_the_function_on_other_inputs(name: str) -> None:
    function = FUNCTIONS[name]
    x, other = torch.randn(4, 3), torch.randn(4, 3)
    module = functional(traced(function, [x]), [x])
    operations = [node.target for node in module.graph.nodes if node.op == "call_function"]
    assert not any(map(is_writing, operations))
    with torch.random.fork_rng():
        wanted = function(other)
    for one, found in zip(wanted, module(other), strict=True):
        torch.testing.assert_close(found, one, rtol=0, atol=0)


def test_a_fill_of_a_new_tensor_takes_no_other_run() -> None:
    x = torch.randn(3)
    for function in (filled_under_another_name, filled_twice):
        once = traced(function, [x])
        assert functional(once, [x]) is once
    for function in (filled_under_a_view, written):
        twice = traced(function, [x])
        assert functional(twice, [x]) is not twice


def test_constants_are_read_anew() -> None:
    constant = torch.ones(3)
    module = traced(lambda x: [x + constant], [torch.zeros(3)])
    constant.fill_(5.0)
    assert module(torch.zeros(3))[0].tolist() == [5.0, 5.0, 5.0]


REFUSED: dict[str, tuple[Callable[[Tensor], list[Tensor]], type[Exception], str]] = {
    "a choice": (lambda x: [x if (x > 0).any() else -x], HiddenValueError, "values of tensors"),
    "a choice by a draw": (
        lambda x: [x if torch.rand(()) > 0.5 else -x],
        HiddenValueError,
        "values of tensors",
    ),
    "a choice by what was written": (
        lambda x: [x if torch.zeros(3).copy_(x[0])[1:].sum() > 0 else -x],
        HiddenValueError,
        "values of tensors",
    ),
    "an array": (
        lambda x: [x * x[0].numpy().max()],
        HiddenValueError,
        "values of tensors",
    ),
    "an array of a result": (
        lambda x: [x + torch.from_numpy(np.asarray(x.sin()))],
        HiddenValueError,
        "values of tensors",
    ),
    "a list": (lambda x: [x * sum(x[0].tolist())], HiddenValueError, "values of tensors"),
    "a generator": (
        lambda x: [x + torch.randn(3, generator=torch.Generator())],
        CaptureError,
        "generator of their own",
    ),
    "an alias that torch does not tell of": (
        lambda x: [nn.Parameter(x) * 2],
        CaptureError,
        "hidden ways",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_recorded_says_why(name: str) -> None:
    function, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        traced(function, [torch.randn(4, 3)])
