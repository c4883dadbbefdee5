"""The loops in which a root is computed, and how far apart the numbers of a view are."""

from collections.abc import Collection

from pyro_decomp.acceleration.fusion.values import (
    MOST_UNROLLED,
    Index,
    Reader,
    Reduction,
    Shape,
    Stored,
    Value,
    View,
)


def terms_of(root: Value) -> tuple[Value, frozenset[int]]:
    """The value whose numbers a root's loops go through, and which dimensions are added up."""
    if isinstance(root, Reduction) and not root.is_unrolled:
        return root.base, frozenset(root.dims)
    return root, frozenset()


def loops_of(root: Value) -> tuple[list[int], list[int], list[int]]:
    """Dimensions of a root's terms: those of its outer loops, of its inner, and unrolled ones.

    Inner loops add up what the outer ones keep. The longest dimension is innermost of its kind.
    """
    terms, added = terms_of(root)
    unrolled: list[int] = []
    times = 1
    for dim in sorted(range(len(terms.shape)), key=lambda dim: terms.shape[dim]):
        if times * terms.shape[dim] > MOST_UNROLLED:
            break
        unrolled.append(dim)
        times *= terms.shape[dim]
    rest = [dim for dim in range(len(terms.shape)) if dim not in unrolled]
    rest.sort(key=lambda dim: (terms.shape[dim], -dim))
    return [d for d in rest if d not in added], [d for d in rest if d in added], unrolled


def places_of(root: Value) -> list[Index]:
    """The indices of a root's terms at one place of its loops ``i0``, ``i1``..."""
    outer, inner, unrolled = loops_of(root)
    names = {dim: f"i{depth}" for depth, dim in enumerate([*outer, *inner])}
    places: list[Index] = [()]
    for dim, extent in enumerate(terms_of(root)[0].shape):
        along = list(map(str, range(extent))) if dim in unrolled else [names[dim]]
        places = [(*place, each) for place in places for each in along]
    return places


def extents_of(root: Value) -> Shape:
    """How many places each of a root's loops has, the outermost first."""
    outer, inner, _ = loops_of(root)
    terms, _ = terms_of(root)
    return tuple(terms.shape[dim] for dim in (*outer, *inner))


def strided(value: Value, strides: dict[Value, Shape]) -> tuple[Value, int, Shape] | None:
    """The root or input that a value views, where its first number is, and its strides.

    Args:
        value: What is asked for.
        strides: Of the memory of roots.

    Returns:
        None if its numbers are not at constant distances, or not in memory.
    """
    names = tuple(f"v{dim}" for dim in range(len(value.shape)))
    base, index = base_of(value, names, strides)
    steps = base.strides if isinstance(base, Stored) else strides.get(base)
    if steps is None:
        return None
    by_name = dict.fromkeys(names, 0)
    first = 0
    for place, step in zip(index, steps, strict=True):
        if place.isdigit():
            first += int(place) * step
        elif place in by_name:
            by_name[place] += step
        else:
            return None
    return base, first, tuple(by_name[name] for name in names)


def base_of(value: Value, index: Index, roots: Collection[Value] = ()) -> tuple[Value, Index]:
    """What a value is a view of, and the index into it."""
    while isinstance(value, View) and not value.given and value not in roots:
        index = value.place(index, _NoReader())
        value = value.base
    return value, index


class _NoReader(Reader):
    """For views that ask for no numbers."""

    def of(self, value: Value, index: Index) -> str:
        raise AssertionError("a view without given values read one")
