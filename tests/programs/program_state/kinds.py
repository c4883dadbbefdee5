"""Programs that keep something in Python between runs, as a table: one a row, each another way."""

import array as arrays
import functools
import itertools
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

COUNT = 0
SETTINGS = SimpleNamespace(count=0)


@dataclass(frozen=True)
class Kind:
    """A way to keep something.

    Attributes:
        make: A program that gives another number at every run.
        path: Of what it keeps, from a root called ``model``.
        may_be_put_back: Whether that can be taken back.
        may_be_kept: Whether a checkpoint can keep it.
        kind: "value" or "tensor".
    """

    make: Callable[[], Callable[[], float]]
    path: str
    may_be_put_back: bool = True
    may_be_kept: bool = True
    kind: str = "value"


def attribute(network: bool = False) -> Callable[[], float]:
    class Program(nn.Module if network else object):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.step = 0

        def run(self) -> float:
            self.step += 1
            return self.step

    return Program().run


def late_attribute() -> Callable[[], float]:
    class Program:
        def run(self) -> float:
            self.step = getattr(self, "step", 0) + 1
            return self.step

    return Program().run


def in_slots() -> Callable[[], float]:
    class Program:
        __slots__ = ("step",)

        def __init__(self) -> None:
            self.step = 0

        def __call__(self) -> float:
            self.step += 1
            return self.step

    return Program()


def class_attribute() -> Callable[[], float]:
    class Program:
        count = 0

        def run(self) -> float:
            type(self).count += 1
            return self.count

    return Program().run


def closure_variable() -> Callable[[], float]:
    count = 0

    def run() -> float:
        nonlocal count
        count += 1
        return count

    return run


def global_variable() -> Callable[[], float]:
    global COUNT  # noqa: PLW0603
    COUNT = 0

    def run() -> float:
        global COUNT  # noqa: PLW0603
        COUNT += 1
        return COUNT

    return run


def count_globally() -> float:
    SETTINGS.count += 1
    return float(SETTINGS.count)


def called_function() -> Callable[[], float]:
    SETTINGS.count = 0

    def run() -> float:
        return count_globally()

    return run


def remembering_function() -> Callable[[], float]:
    @functools.lru_cache(maxsize=1)
    def calls() -> list[int]:
        return []

    calls()

    def run() -> float:
        calls().append(1)
        return len(calls())

    return run


def of_container(container: Any, change: Callable[[Any], float]) -> Callable[[], float]:
    def run() -> float:
        return change(container)

    return run


def append(container: Any) -> float:
    container.append(len(container) + 1)
    return float(sum(container))


def bounded(container: "deque[int]") -> float:
    container.append(container[-1] + 1)
    return float(sum(container))


def add(container: set[int]) -> float:
    container.add(len(container))
    return float(len(container))


def count_up(container: Any) -> float:
    container["runs"] += 1
    return float(container["runs"])


def reorder(container: "OrderedDict[str, int]") -> float:
    container.move_to_end(next(iter(container)))
    return float(next(iter(container.values())))


def default_argument() -> Callable[[], float]:
    def run(calls: list[int] = []) -> float:  # noqa: B006
        return append(calls)

    return run


def function_attribute() -> Callable[[], float]:
    def run() -> float:
        run.count += 1  # type: ignore[attr-defined]
        return run.count  # type: ignore[attr-defined, no-any-return]

    run.count = 0  # type: ignore[attr-defined]
    return run


def advanced(iterator: Callable[[], Iterator[Any]]) -> Callable[[], float]:
    class Program:
        def __init__(self) -> None:
            self.order = iterator()

        def run(self) -> float:
            found = next(self.order)
            return float(found if isinstance(found, int) else found[0])

    return Program().run


def up() -> Iterator[int]:
    n = 0
    while True:
        n += 1
        yield n


def drawn(generator: Any, draw: Callable[[Any], float]) -> Callable[[], float]:
    def run() -> float:
        return draw(generator)

    return run


def tensor_in_place(size: int = 3) -> Callable[[], float]:
    centre = torch.zeros(size)

    def run() -> float:
        return float(centre.add_(1)[0])

    return run


def tensor_anew() -> Callable[[], float]:
    class Program:
        def __init__(self) -> None:
            self.mean = torch.ones(5000)

        def run(self) -> float:
            self.mean = 0.5 * self.mean
            return float(self.mean[0])

    return Program().run


def array() -> Callable[[], float]:
    table = np.zeros((2, 3), dtype=np.float32)

    def run() -> float:
        table[0, 1] += 1
        return float(table[0, 1])

    return run


def numbers_of_python(table: Any) -> Callable[[], float]:
    def run() -> float:
        table[1] += 1
        return float(table[1])

    return run


def object_of_a_callback() -> Callable[[], float]:
    class Annealing:
        def __init__(self) -> None:
            self.levels = {"rate": [1.0]}

        def move(self) -> None:
            self.levels["rate"].append(self.levels["rate"][-1] / 2)

    annealing = Annealing()

    def run() -> float:
        annealing.move()
        return annealing.levels["rate"][-1]

    return run


def method_of_another() -> Callable[[], float]:
    class Program:
        def __init__(self) -> None:
            self.parts = [SimpleNamespace(calls={"prior": (1, [0])})]

        def factor(self) -> float:
            return append(self.parts[0].calls["prior"][1])

        def run(self) -> float:
            return self.factor()

    return Program().run


def context_variable() -> Callable[[], float]:
    count: ContextVar[int] = ContextVar("count", default=0)

    def run() -> float:
        count.set(count.get() + 1)
        return count.get()

    return run


def default_of_a_class() -> Callable[[], float]:
    class Program:
        count = 0

        def run(self) -> float:
            self.count += 1
            return self.count

    return Program().run


class Tally(NamedTuple):
    count: int
    mean: torch.Tensor


@dataclass(frozen=True)
class Frozen:
    count: int


def replaced(first: Any, another: Callable[[Any], Any]) -> Callable[[], float]:
    class Program:
        def run(self) -> float:
            self.held = another(self.held)
            return float(self.held[0] if isinstance(self.held, tuple) else self.held.count)

    program = Program()
    program.held = first  # type: ignore[attr-defined]
    return program.run


def numbers() -> list[int]:
    return list(range(10))


KINDS: dict[str, Kind] = {
    "attribute": Kind(attribute, "model.step"),
    "attribute of a network": Kind(partial(attribute, True), "model.step"),
    "attribute that the first run makes": Kind(late_attribute, "model.step"),
    "slot": Kind(in_slots, "model.step"),
    "attribute of a class": Kind(class_attribute, "model.count"),
    "default of a class": Kind(default_of_a_class, "model.count"),
    "named tuple": Kind(
        lambda: replaced(Tally(0, torch.zeros(2)), lambda t: t._replace(count=t.count + 1)),
        "model.held.0",
    ),
    "tuple with a tensor": Kind(
        lambda: replaced((0, torch.zeros(2)), lambda t: (t[0] + 1, t[1])), "model.held.0"
    ),
    "frozen object": Kind(
        lambda: replaced(Frozen(0), lambda f: Frozen(f.count + 1)), "model.held.count"
    ),
    "object in place of another": Kind(
        lambda: replaced(SimpleNamespace(count=0), lambda n: SimpleNamespace(count=n.count + 1)),
        "model.held.count",
    ),
    "closure variable": Kind(closure_variable, "model.count"),
    "global": Kind(global_variable, "model.COUNT"),
    "global of a called function": Kind(called_function, "model.count_globally.SETTINGS.count"),
    "result that a function remembers": Kind(remembering_function, "model.calls.cached_1"),
    "list": Kind(lambda: of_container([], append), "model.container"),
    "deque": Kind(lambda: of_container(deque([1], maxlen=3), bounded), "model.container"),
    "set": Kind(lambda: of_container(set(), add), "model.container"),
    "dictionary": Kind(lambda: of_container({"runs": 0}, count_up), "model.container"),
    "default dictionary": Kind(lambda: of_container(defaultdict(int), count_up), "model.container"),
    "counter": Kind(lambda: of_container(Counter(), count_up), "model.container"),
    "ordered dictionary": Kind(
        lambda: of_container(OrderedDict(a=1, b=2, c=3), reorder), "model.container"
    ),
    "default argument": Kind(default_argument, "model.calls"),
    "attribute of a function": Kind(function_attribute, "model.count"),
    "argument of a partial": Kind(lambda: partial(append, [0]), "model.container"),
    "list in a tuple in a dictionary": Kind(method_of_another, "model.parts.0.calls.prior.1"),
    "object of a callback": Kind(object_of_a_callback, "model.annealing.levels.rate"),
    "context variable": Kind(context_variable, "model.count.value"),
    "itertools.count": Kind(lambda: advanced(itertools.count), "model.order"),
    "iterator of a list": Kind(lambda: advanced(lambda: iter(numbers())), "model.order"),
    "iterator of a range": Kind(lambda: advanced(lambda: iter(range(10))), "model.order"),
    "itertools.cycle": Kind(
        lambda: advanced(lambda: itertools.cycle(numbers())), "model.order", may_be_kept=False
    ),
    "enumerate": Kind(
        lambda: advanced(lambda: enumerate(numbers())), "model.order", may_be_kept=False
    ),
    "generator function": Kind(
        lambda: advanced(up), "model.order", may_be_put_back=False, may_be_kept=False
    ),
    "numpy Generator": Kind(
        lambda: drawn(np.random.default_rng(0), lambda g: float(g.random())), "model.generator"
    ),
    "numpy Generator, MT19937": Kind(
        lambda: drawn(np.random.Generator(np.random.MT19937(0)), lambda g: float(g.random())),
        "model.generator",
    ),
    "numpy RandomState": Kind(
        lambda: drawn(np.random.RandomState(0), lambda g: float(g.rand())), "model.generator"
    ),
    "random.Random": Kind(lambda: drawn(random.Random(0), lambda g: g.random()), "model.generator"),
    "torch.Generator": Kind(
        lambda: drawn(
            torch.Generator().manual_seed(0), lambda g: float(torch.rand((), generator=g))
        ),
        "model.generator",
    ),
    "tensor in place": Kind(tensor_in_place, "model.centre", kind="tensor"),
    "large tensor in place": Kind(partial(tensor_in_place, 5000), "model.centre", kind="tensor"),
    "tensor anew": Kind(tensor_anew, "model.mean", kind="tensor"),
    "array": Kind(array, "model.table"),
    "bytearray": Kind(lambda: numbers_of_python(bytearray(3)), "model.table"),
    "array of the standard library": Kind(
        lambda: numbers_of_python(arrays.array("d", [0.0, 0.0])), "model.table"
    ),
}
