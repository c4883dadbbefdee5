"""Images drawn from their factors whenever they are read."""

from collections.abc import Callable, Iterator

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
    """An image for each row of factors, of which only the batches in use are in memory.

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
        with arguments.raised_as(DataError):
            arguments.instance(Tensor, "whole numbers, a row an image", factors=factors)
            arguments.wholes(3, image_shape=image_shape)
            arguments.function("a function of values that draws images", render=render)
        super().__init__((len(factors), *image_shape))
        self.factors = factors
        self._render = render

    def read(self, rows: Rows) -> Float[Tensor, "rows channels height width"]:
        """These images, drawn anew."""
        chosen = self.factors[rows]
        images = torch.empty(len(chosen), *self.shape[1:])
        for start in range(0, len(chosen), _IMAGES_PER_CHUNK):
            chunk = slice(start, start + _IMAGES_PER_CHUNK)
            images[chunk] = self._render(chosen[chunk])
        return images

    def telling(self) -> Iterator[Tensor]:
        """The factors, and some of the images that they give."""
        yield self.factors
        yield self.read(torch.linspace(0, len(self) - 1, min(len(self), _TELLING)).long())
