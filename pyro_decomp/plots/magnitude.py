"""Which latents are active for which class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.latents import falling, named
from pyro_decomp.plots.style import DATA, new_figure, round_ticks, styled, thin_ticks


@styled
def code_magnitudes(
    codes: ArrayLike,
    classes: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    most: int | None = None,
) -> Figure:
    """The mean magnitude of each latent's codes over each class (Mathieu et al. 2019, figure 5).

    A row of bars a class, all on one scale. The latents stand in one order for all classes, from
    the greatest mean of these means to the right. A latent that is tall in some rows and flat in
    others is active for those classes only; its effect is drawn with :func:`traversals`, one of
    whose blocks is then a latent and whose rows are data.

    https://arxiv.org/abs/1812.02833

    Args:
        codes: Mean or sampled codes [n, d]; divide them by their standard deviations first if the
            latents differ in scale.
        classes: A whole number per datum [n].
        class_names: Of the different classes in rising order; their numbers if not given.
        names: Of the latents; their numbers, counted from one, if not given.
        most: Draw so many latents only, from the left.

    Raises:
        ValueError: If a shape is not as above, a code is not finite, classes are not whole numbers,
            or names are too few or too many.
    """
    arguments.annotated(code_magnitudes, locals())
    encoded = np.asarray(codes, dtype=np.float64)
    if encoded.ndim != 2 or not encoded.size:
        raise ValueError(f"codes: expected shape (n, d) with n, d >= 1, got {encoded.shape}")
    if not np.isfinite(encoded).all():
        raise ValueError("codes: expected finite numbers, got some that are not")
    numbers = np.asarray(classes)
    if numbers.shape != (len(encoded),) or numbers.dtype.kind not in "iub":
        raise ValueError(
            f"classes: expected {len(encoded)} whole numbers, "
            f"got {numbers.dtype} of shape {numbers.shape}"
        )
    different = np.unique(numbers.astype(np.int64))
    titles = named("class_names", class_names or [str(k) for k in different], len(different))
    latents = encoded.shape[1]
    labels = named("names", names or [str(i + 1) for i in range(latents)], latents)
    means = np.stack([np.abs(encoded[numbers == k]).mean(0) for k in different])
    order = falling(means.mean(0), latents, most)

    figure = new_figure(max(0.13 * len(order) + 1.2, 3.0), 0.55 * len(different) + 0.6)
    panels = figure.subplots(len(different), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    places = np.arange(len(order))
    for axes, title, mean in zip(panels, titles, means[:, order], strict=True):
        thin_ticks(axes)
        axes.bar(places, mean, width=0.8, color=DATA)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_locator(round_ticks(2))
        axes.set_ylabel(title, rotation=0, ha="right", va="center", labelpad=4)
        axes.set_xlim(-0.7, len(order) - 0.3)
        axes.tick_params(axis="x", length=0)
    long = len(order) > 12 or max(len(label) for label in labels) > 3
    panels[-1].set_xticks(
        places, [labels[i] for i in order], rotation=90 if long else 0, fontsize=6
    )
    panels[-1].set_xlabel("latent, by mean magnitude")
    panels[0].set_ylim(0, 1.05 * means.max() or 1.0)
    panels[0].set_title("mean magnitude of the codes")
    return figure
