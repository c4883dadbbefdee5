"""The loops in which a value that is kept in memory is computed."""

from pyro_decomp.acceleration.fusion.indexing import Index, Shape
from pyro_decomp.acceleration.fusion.values import MOST_UNROLLED, Reduction, Value, indices


class Loops:
    """The loops over the numbers of a value, or over the terms of one that is a sum.

    Inner loops add up what the outer ones keep. The longest dimension is innermost of its kind,
    and dimensions of few numbers are unrolled.

    Attributes:
        terms: The value whose numbers the loops go through.
        added: The dimensions of it that are added up.
    """

    def __init__(self, value: Value) -> None:
        self.terms, self.added = value, frozenset[int]()
        if isinstance(value, Reduction) and not value.is_unrolled:
            self.terms, self.added = value.base, frozenset(value.dims)
        shape, times = self.terms.shape, 1
        by_length = sorted(range(len(shape)), key=shape.__getitem__)
        unrolled = set()
        for dim in by_length:
            times *= shape[dim]
            if times > MOST_UNROLLED:
                break
            unrolled.add(dim)
        rest = [dim for dim in range(len(shape)) if dim not in unrolled]
        rest.sort(key=lambda dim: (dim in self.added, shape[dim], -dim))
        self._looped = rest

    @property
    def extents(self) -> Shape:
        """How many numbers each loop has, the outermost first."""
        return tuple(self.terms.shape[dim] for dim in self._looped)

    @property
    def depth(self) -> int:
        """How many loops there are around those that add up."""
        return sum(dim not in self.added for dim in self._looped)

    @property
    def places(self) -> list[Index]:
        """The indices of the terms that one turn of loops over ``i0``, ``i1``... goes through."""
        names = {dim: f"i{depth}" for depth, dim in enumerate(self._looped)}
        return indices(self.terms.shape, [names.get(dim) for dim in range(len(self.terms.shape))])
