"""In which loops kept values are computed, and in which order.

Values whose loops run over the same numbers of places, and that need nothing of one another but
what is at the same place, are computed in one nest of loops. What is not kept in memory is computed
again wherever it is needed.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pyro_decomp.acceleration.fusion.body import Body
from pyro_decomp.acceleration.fusion.indexing import Index, Shape
from pyro_decomp.acceleration.fusion.loops import Loops
from pyro_decomp.acceleration.fusion.materialization import materialized
from pyro_decomp.acceleration.fusion.values import Call, Product, Result, Value


@dataclass(eq=False)
class Nest:
    """Loops in which some values are computed.

    Attributes:
        extents: Of the loops, the outermost first.
        values: In an order in which they can be computed.
    """

    extents: Shape
    values: list[Value] = field(default_factory=list)


Step = Nest | Product | Call


@dataclass(frozen=True)
class Schedule:
    """What a program does.

    Attributes:
        steps: In their order.
        strides: Of the memory of every value that is kept.
        names: Of the pointers to these in C.
    """

    steps: Sequence[Step]
    strides: Mapping[Value, Shape]
    names: Mapping[Value, str]


def scheduled(outputs: Sequence[Value]) -> Schedule:
    """Decide how to compute some values; these come out contiguous, under ``out0``, ``out1``..."""
    order = _in_order(outputs)
    strides = materialized(order, outputs)
    names = {value: f"out{number}" for number, value in enumerate(outputs)}
    for value in strides:
        names.setdefault(value, f"b{len(names)}")
    return Schedule(_steps(order, strides, names), strides, names)


def _in_order(outputs: Sequence[Value]) -> list[Value]:
    """All values, each after its operands."""
    found: dict[Value, None] = {}
    waiting: list[tuple[Value, bool]] = [(value, False) for value in reversed(outputs)]
    while waiting:
        value, is_ready = waiting.pop()
        if value in found:
            continue
        if is_ready:
            found[value] = None
            continue
        waiting.append((value, True))
        waiting += [(operand, False) for operand in reversed(value.operands)]
    return list(found)


def _steps(
    order: Sequence[Value], strides: Mapping[Value, Shape], names: Mapping[Value, str]
) -> list[Step]:
    """Kept values in loops, as few as their needs allow."""
    level: dict[Value, int] = {}
    nests: dict[tuple[int, Shape], Nest] = {}
    steps: dict[int, list[Step]] = defaultdict(list)
    for value in order:
        if value not in strides:
            continue
        if isinstance(value, Result):
            level[value] = level[value.base]
        elif isinstance(value, Product | Call):
            needed = (level[kept] + 1 for kept in _behind(value.operands, strides))
            level[value] = max(needed, default=0)
            steps[level[value]].append(value)
        else:
            body, loops = Body(strides, names), Loops(value)
            body.compute(value)
            level[value] = max(
                (level[kept] + (not _is_beside(kept, loops, index)) for kept, index in body.read),
                default=0,
            )
            key = level[value], loops.extents
            if key not in nests:
                nests[key] = Nest(loops.extents)
                steps[level[value]].append(nests[key])
            nests[key].values.append(value)
    return [step for number in sorted(steps) for step in steps[number]]


def _is_beside(kept: Value, loops: Loops, index: Index) -> bool:
    """Whether a kept value has its number at an index where these loops ask for it."""
    if isinstance(kept, Product | Call | Result):
        return False
    own = Loops(kept)
    return own.terms is kept and own.extents == loops.extents and index in own.places


def _behind(values: Sequence[Value], strides: Mapping[Value, Shape]) -> Iterator[Value]:
    """The kept values from which values are computed without others between."""
    waiting, seen = list(values), set(values)
    while waiting:
        value = waiting.pop()
        if value in strides:
            yield value
            continue
        waiting += [operand for operand in value.operands if operand not in seen]
        seen.update(value.operands)
