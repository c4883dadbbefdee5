import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import Graph, GraphModule
from torch.utils._pytree import tree_map

from pyro_decomp.acceleration.capture.tracing import Kind
from pyro_decomp.acceleration.fusion import FusionError, Program
from pyro_decomp.acceleration.fusion.operations import OPERATIONS, VIEWS
from tests.acceleration.fusion.recorded import assert_same, every_type
from tests.acceleration.fusion.rows import REFUSED, ROWS

aten = torch.ops.aten
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6}


@cache
def tensors(real: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(real)

    def whole(least: int, end: int, *shape: int) -> Tensor:
        return torch.randint(least, end, shape, generator=generator)

    shapes = {"x": (4, 12), "y": (4, 12), "z": (4, 12), "row": (12,), "column": (4, 1)}
    shapes |= {"number": (), "wide": (3, 2, 5), "square": (5, 5), "long": (5, 12), "short": (1, 3)}
    found = {name: normal(*shape) for name, shape in shapes.items()}
    found |= {"n": whole(-3, 4, 4, 12), "k": whole(1, 4, 4, 12)}
    found |= {"places": whole(0, 12, 4, 7), "n_rows": whole(0, 4, 3, 12)}
    found |= {name: whole(0, 2, 4, 12).bool() for name in ("is_so", "or_so")}
    return found


def with_others(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with numbers among them that are none, infinite, zero, or large."""
    others = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 40.0, -800.0])
    changed = {name: tensor.clone() for name, tensor in given.items()}
    for name, shift in (("x", 0), ("y", 3), ("square", 1), ("row", 5)):
        places = changed[name].view(-1)[::3]
        places.copy_(others.roll(shift).repeat(8)[: len(places)])
    return changed


def filled(number: int, by_name: dict[str, Any], real: torch.dtype) -> Any:
    """A row's operation and arguments, with what ``by_name`` has in place of names."""
    return tree_map(
        lambda a: {**by_name, "real": real}[a] if isinstance(a, str) else a, ROWS[number]
    )


def by_torch(number: int, given: dict[str, Tensor], real: torch.dtype) -> list[Tensor]:
    target, arguments, named = filled(number, given, real)
    result = target(*arguments, **named)
    return [result] if isinstance(result, Tensor) else list(result)


@dataclass(frozen=True)
class Table:
    """All rows in one program.

    Attributes:
        program: It.
        places: Where the outputs of a row begin and end.
    """

    program: Program
    places: list[slice]


@cache
def table(real: torch.dtype) -> Table:
    given = tensors(real)
    graph, outputs, places = Graph(), [], []
    nodes = {name: graph.placeholder(name) for name in given}
    for number in range(len(ROWS)):
        target, arguments, named = filled(number, nodes, real)
        wanted = by_torch(number, given, real)
        node = graph.call_function(target, arguments, named)
        parts = [node]
        if target._schema.returns[0].type.kind() == "ListType":
            parts = [graph.call_function(operator.getitem, (node, i)) for i in range(len(wanted))]
        places.append(slice(len(outputs), len(outputs) + len(parts)))
        for part, tensor in zip(parts, wanted, strict=True):
            part.meta["kind"] = Kind(tuple(tensor.shape), tensor.dtype, tensor.device)
            outputs.append(graph.call_function(aten._to_copy.default, (part,), {"dtype": real}))
    graph.output(outputs)
    return Table(Program(GraphModule({}, graph), list(given.values())), places)


@cache
def computed(real: torch.dtype, change: Change) -> list[Tensor]:
    return table(real).program(list(change(tensors(real)).values()))


def name_of(number: int) -> str:
    target, arguments, named = ROWS[number]
    shown = [*map(str, arguments), *(f"{name}={each}" for name, each in named.items())]
    return f"{target}({', '.join(shown)})".removeprefix("aten.")


@pytest.mark.full(but=["float32-*"])
@pytest.mark.parametrize("number", range(len(ROWS)), ids=name_of)
@every_type
def test_every_operation_is_that_of_torch(real: torch.dtype, number: int) -> None:
    torch.set_default_dtype(real)  # of quotients of integers
    for change in (dict, with_others):
        found = computed(real, change)[table(real).places[number]]
        assert_same(found, by_torch(number, change(tensors(real)), real), TOLERANCES[real])


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=lambda n: str(REFUSED[n][0]))
def test_forms_that_are_not_known_are_refused(number: int) -> None:
    target, arguments, named = REFUSED[number]
    given = tensors(torch.float64)
    graph = Graph()
    nodes = {name: graph.placeholder(name) for name in given}
    first = graph.call_function(target, *tree_map(lambda a: nodes.get(a, a), (arguments, named)))
    graph.output([graph.call_function(aten._to_copy.default, (first,), {"dtype": torch.float64})])
    with pytest.raises(FusionError, match=f"{target} as it is used here"):
        Program(GraphModule({}, graph), list(given.values()))


def test_no_form_of_an_operation_is_left_out() -> None:
    names = {*OPERATIONS, *VIEWS}
    forms = {
        getattr(getattr(aten, name), form)
        for name in names
        for form in getattr(aten, name).overloads()
    }
    of_tensors = {
        form
        for form in forms
        if any("Tensor" in str(each.type) for each in form._schema.arguments)
        and not form._schema.is_mutable
        and "Dimname" not in str(form._schema)
        and "Tensor" in str(form._schema.returns[0].type)
        and "Dict" not in str(form._schema)
    }
    of_any_numbers = {aten.empty_like.default}
    assert of_tensors == {target for target, _, _ in (*ROWS, *REFUSED)} | of_any_numbers
