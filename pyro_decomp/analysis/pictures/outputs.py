"""What the decoder makes of encodings and of draws from the prior, beside the data."""

import warnings

from matplotlib.figure import Figure
from torch import Tensor

from pyro_decomp import plots
from pyro_decomp.analysis.encoded import spread
from pyro_decomp.analysis.generation import sample_prior
from pyro_decomp.analysis.latents import reconstruct
from pyro_decomp.analysis.pictures.scene import MAX_DRAWN, Scene
from pyro_decomp.data.batches import Data

NUM_IMAGES = 64  # at most
CHANNELS = (1, 3)


def reconstructions(scene: Scene) -> Figure | None:
    """Data beside what sampled codes are decoded to, where that has the data's shape."""
    data = _shown(scene)
    x = data[:][0].cpu()
    decoded = reconstruct(scene.run, data, kind="sample", seed=scene.seed).cpu()
    is_alike = decoded.shape == x.shape
    return plots.reconstructions(drawable(x), drawable(decoded)) if is_alike else None


def prior_samples(scene: Scene) -> Figure:
    """What draws of the prior are decoded to, beside data where these have the same shape."""
    x = _shown(scene)[:][0].cpu()
    drawn = sample_prior(scene.run, len(x), seed=scene.seed).x.cpu()
    is_alike = drawn.shape == x.shape
    return plots.prior_samples(drawable(drawn), drawable(x) if is_alike else None)


def _shown(scene: Scene) -> Data:
    """As many data as a picture has room for, spread evenly over the scene's."""
    first = scene.data[:1][0]
    is_of_images = drawable(first).dim() > 2
    if first.dim() > 2 and not is_of_images:
        shape = tuple(first.shape[1:])
        warnings.warn(
            f"data of shape {shape} are drawn as vectors: expected images of 1 or 3 channels, "
            "which come first or last",
            stacklevel=2,
        )
    return Data.of(spread(scene.data, NUM_IMAGES if is_of_images else MAX_DRAWN))


def drawable(x: Tensor) -> Tensor:
    """Images ``[n, h, w]`` or ``[n, c, h, w]`` of one or three channels; all else as vectors.

    Channels may also be last, as most image files have them.
    """
    if x.dim() == 4 and x.shape[1] not in CHANNELS and x.shape[-1] in CHANNELS:
        return x.movedim(-1, 1)
    is_image = x.dim() == 3 or (x.dim() == 4 and x.shape[1] in CHANNELS)
    return x if is_image or x.dim() == 2 else x.reshape(len(x), -1)
