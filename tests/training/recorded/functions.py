"""Functions that reach whatever a function of a file may; each gives a value to compare."""

import argparse
import dataclasses
import enum
import functools
import math
import os.path
import xml.dom.minidom
from collections import namedtuple
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from torch.nn.functional import softplus

from tests.training.recorded import neighbour
from tests.training.recorded.neighbour import NETWORK, helped

DATA = torch.linspace(-1, 1, 20)[:, None]
PART = DATA[:3]
TABLE = np.arange(6.0).reshape(2, 3)
NAMES = np.array(["a", "bc"])
OPTIONS = argparse.Namespace(lr=1e-2, hidden=[3, 4])
NESTED = {"train": DATA, "test": (TABLE, 1.0, math.inf), 3: {1, 2}, "none": set(), "f": frozenset()}
HERE = Path(__file__).parent
WIDTH = 4
RATE = np.float32(0.1)
Pair = namedtuple("Pair", "left right")
PAIR = Pair(1, (2,))
OF_TORCH = (torch.float64, torch.device("cpu"), torch.Size([2, 3]), torch.strided)


class Kind(enum.Enum):
    ONE = 1


@dataclasses.dataclass(frozen=True)
class Settings:
    width: int = WIDTH
    kind: Kind = Kind.ONE


class Bare:
    width = WIDTH + 1
    squares = [i**2 for i in range(WIDTH)]  # noqa: RUF012 (as a user may)


class Network(torch.nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.width = settings.width

    def forward(self, x: torch.Tensor) -> float:
        return softplus(x).sum().item() + is_odd(self.width)


SETTINGS = Settings(5)


def is_odd(n: int) -> bool:
    return n != 0 and is_even(n - 1)


def is_even(n: int, network: Network | None = None) -> bool:
    return n == 0 or is_odd(n - 1)


def wrapped(function: Any) -> Any:
    @wraps(function)
    def inner(*values: Any) -> Any:
        return [function(*values)]

    return inner


def doubled(function: Any) -> Any:
    def inner(*values: Any) -> Any:
        return 2 * function(*values)

    return inner


@wrapped
def in_list(x: int) -> int:
    return x + WIDTH


@doubled
def twice(x: int) -> int:
    return x + WIDTH


@functools.lru_cache
def remembered() -> list[int]:
    return [WIDTH]


@config_enumerate
@poutine.scale(scale=3.0)
def sampled() -> Any:
    return pyro.sample("c", dist.Categorical(torch.ones(WIDTH)))


@dataclasses.dataclass(slots=True)
class Slots:
    first: int
    rest: tuple[int, ...] = (WIDTH,)

    def total(self) -> int:
        return self.first + sum(self.rest)


class Derived(Network):
    class Inner:
        depth = WIDTH

    def __init__(self) -> None:
        super().__init__(Settings(2))

    @property
    def depth(self) -> int:
        return self.width + self.Inner.depth

    @classmethod
    def made(cls) -> int:
        return cls().depth


SLOTS = Slots(1)


def outer(width: int, values: list[int]) -> Any:
    def scaled(x: int) -> int:
        return x * width

    class Local:
        unit = WIDTH

        def of(self) -> int:
            return width + self.unit

    def inner(x: int = 3) -> Any:
        text = """
    two lines"""
        return scaled(x), text, values, Local().of()

    return inner


def values() -> Any:
    is_same = NESTED["train"] is DATA and PART.shape == (3, 1)
    return is_same, NESTED, TABLE, NAMES, OPTIONS.hidden, HERE, RATE, PAIR.right, OF_TORCH


def classes() -> Any:
    network = Network(SETTINGS)
    return network(PART), Bare.width, Bare.squares, SETTINGS.kind.name, Settings().width


def imports() -> Any:
    document = xml.dom.minidom.parseString("<a/>")
    return (
        os.path.sep,
        document.nodeName,
        helped(),
        neighbour.helped(),
        NETWORK.weight,
    )


def decorated() -> Any:
    return in_list(1), twice(1), is_even(4)


def its_file() -> Any:
    return __file__


def annotated(n: "int" = 3, *, name: str | None = None, width: int = WIDTH) -> Any:
    return n, name, width


def handlers() -> Any:
    with poutine.trace() as trace:
        sampled()
    site = trace.trace.nodes["c"]
    return site["scale"], site["infer"], remembered()


def inherited() -> Any:
    return SLOTS.total(), Derived.made()


square = lambda x: x**2  # noqa: E731 (as a user may)
closed = outer(5, [1, 2])
method = Derived.made
partly = partial(annotated, 4, name="a")
lambda_ = lambda: square(3)  # noqa: E731


def lambdas() -> Any:
    return square(WIDTH), functools.reduce(lambda a, b: a + b, [1, 2])


FUNCTIONS = (
    *("values", "classes", "imports", "decorated", "its_file", "annotated", "closed", "partly"),
    *("lambda_", "lambdas", "handlers", "inherited", "method"),
)

limit = 1


def counter() -> Any:
    number = 0

    def next_() -> int:
        nonlocal number
        number += 1
        return number

    return next_


counting = counter()
rewrapped = wrapped(is_odd)


@wrapped
def scaled() -> int:
    return 1


scaled = poutine.scale(scaled, scale=2.0)
late = [lambda: 1, lambda: 2][1]


def with_default(n: int = limit) -> int:
    return n


limit = 2
