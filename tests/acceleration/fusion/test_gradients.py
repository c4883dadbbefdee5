from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn import functional as nn

from tests.acceleration.fusion.recorded import assert_same, every_type, gradients, program_of

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}

# Functions of x, y [6, 11], row [11], wide [3, 4, 10], square [12, 12], long [200, 3] and places.
Given = dict[str, Tensor]
FUNCTIONS: dict[str, Callable[[Given], Tensor]] = {
    "abs": lambda g: g["x"].abs(),
    "sigmoid": lambda g: g["x"].sigmoid(),
    "tanh": lambda g: g["x"].tanh(),
    "relu": lambda g: g["x"].relu(),
    "leaky relu": lambda g: nn.leaky_relu(g["x"], 0.2),
    "elu": lambda g: nn.elu(g["x"], 0.7),
    "silu": lambda g: nn.silu(g["x"]),
    "softplus": lambda g: nn.softplus(30 * g["x"], 0.9, 5.0),
    "log sigmoid": lambda g: nn.softplus(-g["x"]).neg(),
    "sqrt": lambda g: g["x"].square().add(0.1).sqrt(),
    "rsqrt": lambda g: g["x"].square().add(0.1).rsqrt(),
    "reciprocal": lambda g: g["x"].square().add(0.1).reciprocal(),
    "log1p, expm1": lambda g: g["x"].expm1().abs().log1p(),
    "sin, cos": lambda g: g["x"].sin() * g["y"].cos(),
    "erf": lambda g: g["x"].erf(),
    "pow": lambda g: g["x"].pow(3) + g["y"].abs().pow(1.5) + g["y"].pow(-2),
    "div": lambda g: g["x"] / (2 + g["row"].cos()),
    "clamp": lambda g: g["x"].clamp(-0.5, 0.7) + g["y"].clamp_min(0.2) + g["y"].clamp_max(0.3),
    "where": lambda g: torch.where(g["x"] > g["row"], g["y"], g["x"]),
    "masked fill": lambda g: g["x"].masked_fill(g["y"] > 0, -1.0),
    "maximum": lambda g: torch.maximum(g["x"], g["y"]) - torch.minimum(g["x"], g["row"]),
    "amax": lambda g: g["wide"].amax(1),
    "xlogy": lambda g: torch.xlogy(g["x"], g["y"].exp()),
    "cross entropy": lambda g: nn.binary_cross_entropy_with_logits(
        g["x"], g["y"].sigmoid().detach(), reduction="none"
    ),
    "softmax": lambda g: g["x"].softmax(-1) + g["y"].softmax(0),
    "log softmax": lambda g: g["wide"].log_softmax(1) + g["wide"].log_softmax(-1),
    "logsumexp of few": lambda g: g["wide"].logsumexp(1),
    "logsumexp of many": lambda g: g["long"].logsumexp(0),
    "logsumexp of two dimensions": lambda g: g["wide"].logsumexp((0, 2), keepdim=True),
    "sum of many": lambda g: g["long"].sum(0),
    "sum of few": lambda g: g["long"].sum(-1),
    "sum of two dimensions": lambda g: g["wide"].sum((0, -1), keepdim=True),
    "sum of all": lambda g: g["wide"].sum(),
    "mean": lambda g: g["wide"].mean((1, 2)) + g["long"].mean(),
    "norm": lambda g: torch.linalg.vector_norm(g["wide"], dim=-1),
    "variance": lambda g: (g["x"] - g["x"].mean(0)).square().sum(0) / 5,
    "broadcast": lambda g: g["x"][:, None] * g["y"] + g["row"],
    "linear": lambda g: nn.linear(g["x"], g["y"], g["y"][:, 0]),
    "products": lambda g: g["x"] @ g["square"][:11] @ g["square"].T @ g["long"][:12],
    "short products": lambda g: g["long"] @ g["wide"][:, 0] @ g["row"][:10, None],
    "transposed": lambda g: g["wide"].transpose(0, 2).reshape(10, -1),
    "permuted and split": lambda g: g["wide"].permute(2, 0, 1).reshape(5, 2, 2, 6),
    "merged": lambda g: g["wide"].flatten(1) * g["wide"].flatten(0, 1).T.reshape(3, 40),
    "sliced": lambda g: g["square"][2:-1, -4:] * g["square"][:9, 3:7],
    "selected": lambda g: g["wide"][:, 1] * g["wide"][..., 0, :] + g["wide"][2, :3],
    "unbound": lambda g: sum(a * (i + 1) for i, a in enumerate(g["wide"].unbind(1))),
    "split": lambda g: torch.cat([a.tanh() for a in g["x"].split([2, 5, 4], 1)[::-1]], 1),
    "joined": lambda g: torch.cat([g["x"], g["row"][None], g["y"]]) * g["square"][:1, :11],
    "joined along rows": lambda g: torch.cat([g["x"], g["x"] * g["y"], g["y"]], 1),
    "stacked": lambda g: torch.stack([g["x"], g["y"], g["x"].T.reshape(6, 11)], -1),
    "repeated": lambda g: g["x"].repeat(2, 3) * g["square"][:, :1],
    "expanded": lambda g: g["row"].expand(4, 6, 11) * g["x"],
    "squeezed": lambda g: g["x"][:, None, :, None].squeeze().squeeze(0) * g["row"].unsqueeze(0),
    "diagonal": lambda g: g["square"].diagonal(1) * g["row"] + g["square"].diagonal(-1),
    "diagonal matrices": lambda g: torch.diag_embed(g["x"]).sum(0) @ g["square"][1:, 1:],
    "triangles": lambda g: g["square"].tril(-1) - g["square"].triu(2),
    "gathered": lambda g: g["x"].detach().gather(1, g["places"]) * g["row"][:4],
    "indirectly": lambda g: g["square"].detach()[2:].gather(0, g["places"].T) * g["x"][:4, :6],
}


def given_tensors(real: torch.dtype) -> Given:
    """Inputs of the functions by name."""
    shapes = {"x": (6, 11), "y": (6, 11), "row": (11,), "wide": (3, 4, 10)}
    shapes |= {"square": (12, 12), "long": (200, 3)}
    generator = torch.Generator().manual_seed(0)
    found = {
        name: torch.randn(shape, generator=generator, dtype=torch.float32).to(real)
        for name, shape in shapes.items()
    }
    return {**found, "places": torch.randint(0, 10, (6, 4), generator=generator)}


@cache
def computed(
    real: torch.dtype, *names: str
) -> tuple[dict[str, slice], Sequence[Tensor], Sequence[Tensor]]:
    """Where the values and gradients of a function are, those of the program, and torch's."""
    given = given_tensors(real)
    inputs = list(given.values())
    places: dict[str, slice] = {}

    def named(name: str) -> Callable[..., list[Tensor]]:
        return lambda *tensors: [FUNCTIONS[name](dict(zip(given, tensors, strict=True)))]

    def every(*tensors: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for name in names:
            start = len(found)
            found += [*named(name)(*tensors), *gradients(named(name), tensors)]
            places[name] = slice(start, len(found))
        return found

    program = program_of(every, inputs)
    return places, program(inputs), every(*inputs)


@pytest.mark.full
@pytest.mark.parametrize("name", FUNCTIONS)
@every_type
def test_values_and_gradients_are_those_of_autograd(real: torch.dtype, name: str) -> None:
    places, found, wanted = computed(real, *FUNCTIONS)
    assert_same(found[places[name]], wanted[places[name]], TOLERANCES[real])


@every_type
def test_of_one_function(real: torch.dtype) -> None:
    _, found, wanted = computed(real, "softmax")
    assert_same(found, wanted, TOLERANCES[real])
