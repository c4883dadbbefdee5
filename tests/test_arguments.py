"""Arguments are refused in one sentence that names them, and what is right is left alone."""

import math
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError, DataError, DecompError

NAMED: list[tuple[Callable[[], object], str]] = [
    (
        lambda: arguments.number("[0, inf)", a=-1),
        "a: expected a finite number of at least 0, got -1",
    ),
    (lambda: arguments.number("(0, inf)", a=0), "a: expected a positive number, got 0"),
    (
        lambda: arguments.number("(0, inf)", a=math.inf),
        "a: expected a finite, positive number, got inf",
    ),
    (lambda: arguments.number("[0, 1]", a=1.5), "a: expected a number in [0, 1], got 1.5"),
    (lambda: arguments.number("(-inf, inf)", a=10**400), "a: expected a finite number, got 10000"),
    (
        lambda: arguments.number("(-inf, inf)", a=torch.tensor(math.nan)),
        "a: expected a finite number, got nan",
    ),
    (lambda: arguments.number("(-inf, inf)", a=True), "a: expected a finite number, got True"),
    (lambda: arguments.number("(-inf, inf)", a=1, b="2"), "b: expected a finite number, got '2'"),
    (
        lambda: arguments.number("(-inf, inf)", a=torch.ones(2)),
        "a: expected a finite number, got shape (2,)",
    ),
    (lambda: arguments.whole(a=2.0), "a: expected a positive whole number, got 2.0"),
    (lambda: arguments.whole(2, a=1), "a: expected a whole number of at least 2, got 1"),
    (lambda: arguments.whole(0, 5, a=6), "a: expected a whole number from 0 to 5, got 6"),
    (
        lambda: arguments.wholes(1, a=()),
        "a: expected 1 or more positive whole numbers, such as (100,), got ()",
    ),
    (lambda: arguments.wholes(a=(3, 0)), "a[1]: expected a positive whole number, got 0"),
    (
        lambda: arguments.wholes(a="12"),
        "a: expected a sequence of positive whole numbers, such as (100,), got '12'",
    ),
    (
        lambda: arguments.numbers("(0, inf)", a=[1, "b"]),
        "a[1]: expected a positive number, got 'b'",
    ),
    (lambda: arguments.one_of(("x", "y"), a="z"), "a: expected one of 'x', 'y', got 'z'"),
    (lambda: arguments.one_of(("x", "y"), a=[]), "a: expected one of 'x', 'y', got []"),
    (lambda: arguments.flag(a=1), "a: expected True or False, got 1"),
    (lambda: arguments.path(a=3), "a: expected a path, got 3"),
    (lambda: arguments.path(a=""), "a: expected a path, got ''"),
    (lambda: arguments.path(a=Path("b\0")), "a: expected a path, got PosixPath("),
    (lambda: arguments.whole(a=2**63), "a: expected a positive whole number below 2^63, got 92233"),
    (
        lambda: arguments.number("[0, 1]", a=torch.ones((), device="meta")),
        "a: expected a number in [0, 1], got tensor(...",
    ),
    (lambda: arguments.function(a=3), "a: expected a function, got 3"),
    (
        lambda: arguments.device(a="tpu"),
        "a: expected a device that torch can compute on here, such as 'cpu', got 'tpu'",
    ),
    (
        lambda: arguments.device(a="meta"),
        "a: expected a device that torch can compute on here, such as 'cpu', got 'meta'",
    ),
    (
        lambda: arguments.tensor("k d", a=torch.ones(2)),
        "a: expected a tensor [k, d] of finite numbers, got shape (2,)",
    ),
    (
        lambda: arguments.tensor("...", a=torch.tensor([math.nan])),
        "a: expected a tensor [...] of finite numbers, got nan",
    ),
    (
        lambda: arguments.positive(a=torch.tensor([1.0, -2.0])),
        "a: expected positive numbers, got -2.0",
    ),
]


@pytest.mark.parametrize(("check", "message"), NAMED, ids=[message for _, message in NAMED])
def test_one_sentence_names_what_is_wrong(check: Callable[[], object], message: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        check()
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, TypeError)
    assert isinstance(refused.value, ValueError)
    assert isinstance(refused.value, DecompError)


def test_what_is_right_passes() -> None:
    numbers = (2, 0.5, np.float32(0.5), np.int64(3), Fraction(1, 2), torch.tensor(0.5))
    for value in (*numbers, torch.nn.Parameter(torch.tensor(1.0))):
        arguments.number("(0, 3]", a=value)
    for whole in (1, np.int64(3), torch.tensor(2)):
        arguments.whole(a=whole)
    arguments.wholes(a=(), b=torch.Size([2, 3]), c=[np.int64(4)], d=range(1, 3))
    arguments.device(a="cpu", b=torch.device("cpu"))
    arguments.path(a="x", b=Path("x"))
    arguments.positive(a=1, b=torch.ones(2, 3))


def test_another_error_has_the_same_words() -> None:
    refused = pytest.raises(DataError, match=r"^size: expected a positive whole number, got 0$")
    with refused, arguments.raised_as(DataError):
        arguments.whole(size=0)


def drawn(
    size: int,
    names: Sequence[str] | None = None,
    *,
    scale: float = 1.0,
    values: Any = (),
    render: Callable[[int], Any] = str,
    path: str | Path = "a.png",
) -> None:
    arguments.annotated(drawn, locals(), size=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 1.5}, "size: expected a whole number, got 1.5"),
        ({"size": 0}, "size: expected a positive whole number, got 0"),
        ({"size": 1, "names": "ab"}, "names: expected a sequence of strings or None, got 'ab'"),
        ({"size": 1, "names": [1]}, "names: expected a sequence of strings or None, got [1]"),
        ({"size": 1, "scale": math.inf}, "scale: expected a finite number, got inf"),
        ({"size": 1, "path": ""}, "path: expected a path, got ''"),
        ({"size": 1, "render": 3}, "render: expected a function of 1 argument, got 3"),
        (
            {"size": 1, "render": torch.nn.Module()},  # which has no ``forward``
            "render: expected a function of 1 argument, got Module()",
        ),
        (
            {"size": 1, "render": operator.add},  # of two
            "render: expected a function of 1 argument, got <built-in function add>",
        ),
    ],
)
def test_annotations_say_what_is_right(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        drawn(**given)
    assert str(refused.value) == message


def test_what_is_annotated_passes() -> None:
    drawn(3, ["a"], scale=2, values=object())
    drawn(np.int64(3), scale=np.float32(2))  # type: ignore[arg-type]
