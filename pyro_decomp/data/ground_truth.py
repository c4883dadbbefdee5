"""Images generated from known factors: the grid of all factors, and a function that draws them."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.factor_grid import FactorGrid
from pyro_decomp.data.rendered import Render, Rendered
from pyro_decomp.errors import DataError


class GroundTruth(FactorGrid):
    """A grid of factors, and the image of each combination of their values.

    Nothing is held in memory but what ``render`` holds.

    Args:
        name: Of the data set, for tables and messages.
        factors: Number of values of each factor by its name, slowest first.
        image_shape: Channels, height and width.
        render: From values, int64 of shape n x factors and within their range, to float32 images in
            [0, 1], the same each time.

    Raises:
        DataError: There is no factor, or one without a value.

    >>> squares = GroundTruth("squares", {"shade": 3, "size": 2}, (1, 1, 1),
    ...                       lambda factors: factors[:, :1, None, None] / 2.0)
    >>> squares.subset(shade=[0, 2]).materialise()[0].flatten()
    tensor([0., 0., 1., 1.])
    """

    def __init__(
        self,
        name: str,
        factors: Mapping[str, int],
        image_shape: tuple[int, int, int],
        render: Render,
    ) -> None:
        super().__init__(name, factors)
        with arguments.raised_as(DataError):
            arguments.wholes(3, image_shape=image_shape)
            arguments.function("a function of values that draws images", render=render)
        self.image_shape = image_shape
        self._render = render

    def __repr__(self) -> str:
        sizes = zip(self.factor_names, self.factor_sizes, strict=True)
        grid = ", ".join(f"{name}: {size}" for name, size in sizes)
        return f"<{self.name}: {len(self)} images of {self.image_shape}; {grid}>"

    def images(
        self, factors: Int[Tensor, "n factors"] | Sequence[Sequence[int]]
    ) -> Float[Tensor, "n channels height width"]:
        """The images of these values, in [0, 1]; drawn anew at each call.

        Args:
            factors: Values of all factors.

        Raises:
            DataError: A value is out of range, or a row too long or short.
        """
        return self._render(self.checked(factors))

    def subset(self, **values: Iterable[int]) -> "GroundTruth":
        """The grid with only these values of the factors named, in the order given.

        Args:
            values: For each factor named, the values kept, at least one of them. Those are counted
                from 0 in the new grid; a factor with one value left keeps its place.

        Raises:
            DataError: A factor is unknown, or a value is out of range, missing or given twice.
        """
        kept = {
            name: torch.arange(size)
            for name, size in zip(self.factor_names, self.factor_sizes, strict=True)
        }
        for name, chosen in values.items():
            if name not in kept:
                names = ", ".join(self.factor_names)
                raise DataError(f"subset: expected factors among {names}, got {name!r}")
            kept[name] = self._some_values(name, list(chosen), len(kept[name]))
        tables = list(kept.values())

        def render(factors: Tensor) -> Tensor:
            columns = [table[factors[:, k]] for k, table in enumerate(tables)]
            return self._render(torch.stack(columns, dim=1))

        sizes = {name: len(table) for name, table in kept.items()}
        return GroundTruth(self.name, sizes, self.image_shape, render)

    def materialise(
        self, indices: Int[Tensor, " n"] | Sequence[int] | None = None
    ) -> tuple[Float[Tensor, "n channels height width"], Int[Tensor, "n factors"]]:
        """Images and factors as two tensors.

        Four bytes a pixel: the 737,280 images of 64 x 64 of dSprites would be 11 GiB. A subset, a
        smaller size, or :meth:`stored` for a batch at a time needs less.

        Args:
            indices: Which images, in this order; the whole grid by default.

        Raises:
            DataError: An index is out of range.
        """
        images = self.stored(self.factors(indices))
        return images[:], images.factors

    def stored(
        self, factors: Int[Tensor, "n factors"] | Sequence[Sequence[int]] | None = None
    ) -> Rendered:
        """Images to train on that are drawn a batch at a time and never all in memory.

        They come out to the bits that :meth:`materialise` would hold.

        Args:
            factors: Values of all factors, a row for each image, which may recur; the whole grid by
                default.

        Raises:
            DataError: A value is out of range, or a row too long or short.
        """
        rows = self.factors() if factors is None else self.checked(factors)
        return Rendered(rows, self._render, self.image_shape)

    def _some_values(self, name: str, chosen: list[int], size: int) -> Tensor:
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(size)):
            raise DataError(
                f"subset: expected distinct values of {name} from 0 to {size - 1}, got {chosen}"
            )
        return torch.tensor(chosen)
