"""What the decoder makes of encodings and of draws from the prior, beside the data."""

import warnings

import torch
from jaxtyping import Int
from torch import Tensor

from pyro_decomp.analysis.generation import intervention
from pyro_decomp.analysis.pictures.picture_data import MAX_DRAWN, PictureData, drawing_of
from pyro_decomp.analysis.plot_calls import Drawing
from pyro_decomp.seeds import seeded

NUM_IMAGES = 64  # at most
CHANNELS = (1, 3)


def reconstructions(data: PictureData) -> Drawing | None:
    """Data beside what sampled codes are decoded to, where that has the data's shape."""
    rows = _shown(data)
    x = data.encoded.batch(rows)[0].cpu()
    data.encoded.encode(rows)
    with seeded(data.seed):
        decoded = data.encoded.reconstructions(rows, kind="sample").cpu()
    is_alike = decoded.shape == x.shape
    return drawing_of("reconstructions", drawable(x), drawable(decoded)) if is_alike else None


def prior_samples(data: PictureData) -> Drawing:
    """What draws of the prior are decoded to, beside data where these have the same shape."""
    x = data.encoded.batch(_shown(data))[0].cpu()
    drawn = intervention(data.encoded, {}, num_samples=len(x), seed=data.seed).x.cpu()
    is_alike = drawn.shape == x.shape
    return drawing_of("prior_samples", drawable(drawn), drawable(x) if is_alike else None)


def _shown(data: PictureData) -> Int[Tensor, " n"]:
    """As many rows as a picture has room for, spread evenly over those that are drawn."""
    first = data.encoded.batch(data.rows[:1])[0]
    is_of_images = drawable(first).dim() > 2
    if first.dim() > 2 and not is_of_images:
        shape = tuple(first.shape[1:])
        warnings.warn(
            f"data of shape {shape} are drawn as vectors: expected images of 1 or 3 channels, "
            "which come first or last",
            stacklevel=2,
        )
    kept = min(len(data), NUM_IMAGES if is_of_images else MAX_DRAWN)
    return data.rows[torch.arange(kept) * len(data) // kept]


def drawable(x: Tensor) -> Tensor:
    """Images ``[n, h, w]`` or ``[n, c, h, w]`` of one or three channels; all else as vectors.

    Channels may also be last, as most image files have them.
    """
    if x.dim() == 4 and x.shape[1] not in CHANNELS and x.shape[-1] in CHANNELS:
        return x.movedim(-1, 1)
    is_image = x.dim() == 3 or (x.dim() == 4 and x.shape[1] in CHANNELS)
    return x if is_image or x.dim() == 2 else x.reshape(len(x), -1)
