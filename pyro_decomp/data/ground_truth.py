"""Images generated from known factors: the grid of all factors, and what draws them."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.stored import Rows, Stored
from pyro_decomp.errors import DataError

Render = Callable[[Int[Tensor, "n factors"]], Float[Tensor, "n channels height width"]]

_TELLING = 64  # images that tell a rendering from another
_IMAGES_PER_CHUNK = 1024  # drawn at once, so that what it takes to draw them stays small


class Rendered(Stored):
    """An image for each row of factors, of which only the batches in use are in memory; internal.

    Args:
        factors: The values behind each image.
        render: From some of them to images in float32, the same each time.
        image_shape: Channels, height and width.

    Attributes:
        factors: As given.

    >>> images = Rendered(torch.tensor([[0], [1], [2]]), lambda v: v[:, :, None, None] / 2.0,
    ...                   (1, 1, 1))
    >>> images[torch.tensor([2, 0])].flatten()
    tensor([1., 0.])
    """

    def __init__(
        self,
        factors: Int[Tensor, "n factors"],
        render: Render,
        image_shape: tuple[int, int, int],
    ) -> None:
        super().__init__((len(factors), *image_shape))
        self.factors = factors
        self._render = render

    def read(self, rows: Rows) -> Float[Tensor, "rows channels height width"]:
        """Draw the images of these rows."""
        chosen = self.factors[rows]
        images = torch.empty(len(chosen), *self.shape[1:])
        for start in range(0, len(chosen), _IMAGES_PER_CHUNK):
            chunk = slice(start, start + _IMAGES_PER_CHUNK)
            images[chunk] = self._render(chosen[chunk])
        return images

    def telling(self) -> Iterator[Tensor]:
        """Yield the factors and some of their images, which tell these data from others."""
        yield self.factors
        yield self.read(torch.linspace(0, len(self) - 1, min(len(self), _TELLING)).long())


class GroundTruth:
    r"""A grid of factors, and the image of each combination of their values.

    Factor :math:`k` of :math:`K` takes the values :math:`0 .. S_k - 1`, and the values :math:`v`
    have the index

    .. math::
        i = \sum_k v_k \prod_{l > k} S_l,

    so the last factor changes fastest. Nothing is held in memory but what ``render`` holds.

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
        with arguments.raised_as(DataError):
            arguments.text(name=name)
            arguments.instance(Mapping, "a dictionary of factors to numbers", factors=factors)
            arguments.whole(**{f"{name}: {factor}": size for factor, size in factors.items()})
            arguments.wholes(3, image_shape=image_shape)
            arguments.function("a function of values that draws images", render=render)
        if not factors:
            raise DataError(f"{name}: expected at least one factor, got none")
        self.name = name
        self.factor_names = tuple(factors)
        self.factor_sizes = tuple(factors.values())
        places = [math.prod(self.factor_sizes[k + 1 :]) for k in range(len(factors))]
        self._places = torch.tensor(places)
        self._sizes = torch.tensor(self.factor_sizes)
        self.image_shape = image_shape
        self._render = render

    def __repr__(self) -> str:
        sizes = zip(self.factor_names, self.factor_sizes, strict=True)
        grid = ", ".join(f"{name}: {size}" for name, size in sizes)
        return f"<{self.name}: {len(self)} images of {self.image_shape}; {grid}>"

    def __len__(self) -> int:
        return math.prod(self.factor_sizes)

    def factors(
        self, index: Int[Tensor, " n"] | Sequence[int] | None = None
    ) -> Int[Tensor, "n factors"]:
        """The values behind each index; of the whole grid by default.

        Args:
            index: Whole numbers from 0 to ``len(self) - 1``.

        Returns:
            A row of values for each index, int64.

        Raises:
            DataError: An index is out of range.
        """
        chosen = torch.arange(len(self)) if index is None else _whole(index, "index")
        outside = (chosen < 0) | (chosen >= len(self))
        if outside.any():
            got = int(chosen[outside][0])
            raise DataError(f"index: expected 0 to {len(self) - 1} for {self.name}, got {got}")
        return chosen[:, None] // self._places % self._sizes

    def index(
        self, factors: Int[Tensor, "n factors"] | Sequence[Sequence[int]]
    ) -> Int[Tensor, " n"]:
        """The index of each row of values: the inverse of :meth:`factors`.

        Args:
            factors: Values of all factors.

        Returns:
            Whole numbers from 0 to ``len(self) - 1``, int64.

        Raises:
            DataError: A value is out of range, or a row too long or short.
        """
        return (self.checked(factors) * self._places).sum(1)

    def sample_factors(self, n: int, *, seed: int = 0) -> Int[Tensor, "n factors"]:
        """Draw values of all factors uniformly and independently, with replacement.

        Args:
            n: Number of rows.
            seed: Of this draw alone; the global generator is left as it was.

        Returns:
            A row of values for each draw, int64.

        Raises:
            DataError: ``n`` is negative.
        """
        with arguments.raised_as(DataError):
            arguments.whole(0, n=n, seed=seed)
        generator = torch.Generator().manual_seed(int(seed))
        return self.factors(torch.randint(len(self), (n,), generator=generator))

    def checked(self, factors: Tensor | Sequence[Sequence[int]]) -> Int[Tensor, "n factors"]:
        """Check rows of values, and convert them to int64.

        Args:
            factors: Values of all factors.

        Returns:
            The same values, int64.

        Raises:
            DataError: A value is out of range, or a row too long or short.
        """
        values = _whole(factors, "factors")
        if values.dim() != 2 or values.shape[1] != len(self._sizes):
            expected = f"rows of {len(self._sizes)} values for {self.name}"
            raise DataError(f"factors: expected {expected}, got shape {tuple(values.shape)}")
        outside = (values < 0) | (values >= self._sizes)
        if outside.any():
            row, k = outside.nonzero()[0].tolist()
            raise DataError(
                f"factors: expected 0 to {self.factor_sizes[k] - 1} for "
                f"{self.factor_names[k]}, got {int(values[row, k])} in row {row}"
            )
        return values

    def images(
        self, factors: Int[Tensor, "n factors"] | Sequence[Sequence[int]]
    ) -> Float[Tensor, "n channels height width"]:
        """Draw the images of these values.

        Args:
            factors: Values of all factors.

        Returns:
            An image for each row of values, float32 in [0, 1], drawn anew at each call.

        Raises:
            DataError: A value is out of range, or a row too long or short.
        """
        return self._render(self.checked(factors))

    def subset(self, **values: Iterable[int]) -> "GroundTruth":
        """The grid with only some values of the factors that are named, in the order given.

        Args:
            values: For each factor named, the values kept, at least one of them. Those are counted
                from 0 in the new grid; a factor with one value left keeps its place.

        Returns:
            A grid whose ``render`` is that of this one.

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

        Returns:
            The images, float32 in [0, 1], and a row of factor values for each, int64.

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

        Returns:
            Data to be given to an experiment, whose ``factors`` are the values behind each image.

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


def _whole(values: Tensor | Sequence[int] | Sequence[Sequence[int]], source: str) -> Tensor:
    try:
        tensor = torch.as_tensor(values)
    except (RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"{source}: expected whole numbers, got {values!r}") from error
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise DataError(f"{source}: expected whole numbers, got {tensor.dtype}")
    return tensor.long()
