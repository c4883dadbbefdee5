import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pyro_decomp.acceleration.fusion import FusionError, Program
from tests.acceleration.fusion.recorded import graph_of, normal, program_of

REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a convolution": (lambda x: torch.conv1d(x[None], x[None, :, :3]), "convolution"),
    "cumsum": (lambda x: x.cumsum(0), "aten.cumsum.default"),
    "sort": (lambda x: x.sort(0).values, "aten.sort.default"),
    "the largest of many": (lambda x: x.amax(), "the largest of many"),
    "an output of integers": (lambda x: (x > 0).sum(), "an output that is no floating number"),
    "an output of bools": (lambda x: x > 0, "an output that is no floating number"),
    "a large product": (lambda x: x.repeat(80, 1) @ x.repeat(80, 1).T, "a large product"),
    "a product of integers": (lambda x: (x.long() @ x.long().T) * 0.5, "matrices of integers"),
    "numbers of 16 bits": (lambda x: x.half().double(), "torch.float16"),
    "numbers of bfloat16": (lambda x: x.bfloat16().double(), "torch.bfloat16"),
    "integers of 32 bits": (lambda x: x * x.int(), "torch.int32"),
    "a sum of no numbers": (lambda x: x[:0].sum(), "a sum of no numbers"),
    "a norm that is not Euclidean": (lambda x: torch.linalg.vector_norm(x, 1), "Euclidean"),
    "the gradient of a slice with steps": (
        lambda x: torch.autograd.grad(x.requires_grad_()[::2].sum(), x)[0],
        "slice with steps",
    ),
    "bits of integers": (lambda x: x * (~x.long()), "the bits of integers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_written_as_c_is_named_in_one_sentence(name: str) -> None:
    function, message = REFUSED[name]
    with pytest.raises(FusionError, match=message) as caught:
        program_of(lambda x: [function(x)], [normal(8, 12)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (normal(3).half(), "expected numbers of 32 or of 64 bits, got torch.float16"),
        (torch.arange(3), "expected numbers of 32 or of 64 bits, got none$"),
        (normal(3).to("meta"), "C is for the processor"),
        (normal(0, 3), "a tensor of no numbers"),
    ],
    ids=["16 bits", "no floating number", "another device", "no numbers"],
)
def test_inputs_that_are_not_read(given: Tensor, message: str) -> None:
    graph = graph_of(lambda x: [x.sin()], [normal(3)])
    for node in graph.graph.nodes:
        node.meta.clear()
    with pytest.raises(FusionError, match=message):
        Program(graph, [given])


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nonexistent")
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(FusionError, match=r"^no C compiler .* was found$"):
        program_of(lambda x: [x * 0.125], [normal(3)])


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    x = normal(3)
    (found,) = program_of(lambda x: [x * 0.375], [x])([x])
    torch.testing.assert_close(found, x * 0.375)


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    with pytest.raises(FusionError, match="the C compiler failed"):
        program_of(lambda x: [x * 0.625], [normal(3)])
