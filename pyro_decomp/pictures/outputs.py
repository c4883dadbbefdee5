"""What the decoder makes of encodings and of draws from the prior, beside the data."""

from collections.abc import Iterator

from matplotlib.figure import Figure
from torch import Tensor

from pyro_decomp import plots
from pyro_decomp.data.batches import Data
from pyro_decomp.encoded import spread
from pyro_decomp.generation import sample_prior
from pyro_decomp.latents import reconstruct
from pyro_decomp.pictures.scene import MAX_DRAWN, Scene

NUM_IMAGES = 64  # at most
CHANNELS = (1, 3)


def pictures(scene: Scene) -> Iterator[tuple[str, Figure]]:
    """Reconstructions of sampled codes, and draws of the prior."""
    is_of_images = drawable(scene.data[:1][0]).dim() > 2
    data = Data.of(spread(scene.data, NUM_IMAGES if is_of_images else MAX_DRAWN))
    x = data[:][0].cpu()
    reconstruction = reconstruct(scene.run, data, kind="sample", seed=scene.seed).cpu()
    is_alike = reconstruction.shape == x.shape
    if is_alike:
        yield "reconstructions", plots.reconstructions(drawable(x), drawable(reconstruction))
    drawn = sample_prior(scene.run, len(x), seed=scene.seed).x.cpu()
    yield "prior_samples", plots.prior_samples(drawable(drawn), drawable(x) if is_alike else None)


def drawable(x: Tensor) -> Tensor:
    """Images ``[n, h, w]`` or ``[n, c, h, w]`` of one or three channels; all else as vectors."""
    is_image = x.dim() == 3 or (x.dim() == 4 and x.shape[1] in CHANNELS)
    return x if is_image or x.dim() == 2 else x.reshape(len(x), -1)
