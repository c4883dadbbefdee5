"""Names of inputs, followed through operations, in place and by views, and not through shapes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pyro_decomp.programs.provenance import Provenance

PASSING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "arithmetic": lambda a, b: a + b,
    "products": lambda a, b: b @ a,
    "an index": lambda a, b: b[a.long().clamp(0, 1)],
    "a view of what was written": lambda a, b: b.clone().copy_(a)[0],
    "a condition": lambda a, b: torch.where(a > 0, b, -b),
    "a network": lambda a, b: torch.nn.functional.linear(b, a),
}


@pytest.mark.parametrize("function", PASSING.values(), ids=PASSING)
def test_names_are_passed_on(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    a, b = torch.randn(2, 2), torch.randn(2, 2)
    with Provenance() as provenance:
        provenance.set(a, {"a"})
        assert provenance.of(function(a, b)) == {"a"}
        provenance.add(b, {"b"})
        assert "a" in provenance.of(function(a, b))
    assert provenance.of(b) == {"b"}


def test_shapes_pass_nothing_on() -> None:
    a = torch.randn(2, 2)
    with Provenance() as provenance:
        provenance.set(a, {"a"})
        for made in (a.new_zeros(3), torch.ones_like(a), a.new_full((2,), 1.0), a.new_empty(4)):
            assert not provenance.of(made)
        assert not provenance.of(torch.zeros(2).to(a))
        assert not provenance.of(torch.zeros(2).expand_as(a))


def test_both_names_meet() -> None:
    a, b = torch.randn(2), torch.randn(2)
    with Provenance() as provenance:
        provenance.set(a, {"a"})
        provenance.set(b, {"b"})
        total = torch.zeros(2)
        total += a
        total[0] = b[1]
        assert provenance.of(total) == {"a", "b"}
        assert provenance.of(a) == {"a"}
        provenance.set(a, {"z"})
        assert provenance.of(a) == {"z"}
