"""The arguments of a traversal, checked and in the order drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pyro_decomp.plots.latents import falling, labelled, named, nats, rounded
from pyro_decomp.plots.mosaic import channels_last, intensities

Values = Float[np.ndarray, "components latents columns"]


@dataclass(frozen=True)
class Arranged:
    """A traversal as it is drawn: components, latents in their order, columns.

    Attributes:
        decoded: Images in [0, 1], channels last [components, latents, columns, h, w, c], or vectors
            [components, latents, columns, d].
        values: The value that the latent takes [components, latents, columns].
        labels: Of each latent its name, and information where known.
        headings: Over each column; empty if the rows' values differ.
        components: Their names; one empty one if there are none.
        size: Of how many latents these are.
    """

    decoded: Float[np.ndarray, "components latents columns *shape"]
    values: Values
    labels: list[str]
    headings: list[str]
    components: list[str]
    size: int

    @property
    def of_images(self) -> bool:
        """Whether what was decoded are images."""
        return self.decoded.ndim > 4

    @property
    def title(self) -> str:
        """How many latents are drawn, where it is not all."""
        drawn = len(self.labels)
        return f"{drawn} of {self.size} latents" if drawn < self.size else ""

    def row_labels(self, component: int) -> list[str]:
        """The labels of one component's rows, with each row's range where no heading has it."""
        if self.headings:
            return self.labels
        ends = [rounded(row[[0, -1]]) for row in self.values[component]]
        return [f"{label}\n{a} to {b}" for label, (a, b) in zip(self.labels, ends, strict=True)]


def arrange(
    decoded: ArrayLike,
    values: ArrayLike,
    *,
    names: Sequence[str] | None,
    information: ArrayLike | None,
    components: Sequence[str] | None,
    headings: Sequence[str] | None,
    most: int | None,
) -> Arranged:
    """Check what :func:`traversals` was given, and put the most informative latents first."""
    outputs = np.asarray(decoded, dtype=np.float64)
    if components is None:
        outputs = outputs[None]
    if outputs.ndim not in (4, 5, 6) or not outputs.size:
        lead = "(latents, columns" if components is None else "(components, latents, columns"
        got = outputs.shape[components is None :]
        raise ValueError(
            f"decoded: expected shape {lead}, d), {lead}, h, w) or {lead}, c, h, w), got {got}"
        )
    if outputs.ndim > 4:
        outputs = intensities(channels_last("decoded", outputs, 3))
    count, latents, columns = outputs.shape[:3]

    taken = np.asarray(values, dtype=np.float64)
    full = (count, latents, columns)
    if taken.ndim not in (1, 2, 3) or taken.shape != full[3 - taken.ndim :]:
        raise ValueError(
            f"values: expected shape {full[2:]}, {full[1:]} or {full}, got {taken.shape}"
        )
    if not np.isfinite(taken).all():
        raise ValueError("values: expected finite numbers, got some that are not")
    over = rounded(taken) if taken.ndim == 1 else []
    amounts = nats(information, latents)
    order = falling(amounts, latents, most)
    return Arranged(
        decoded=outputs[:, order],
        values=np.broadcast_to(taken, full)[:, order],
        labels=labelled(named("names", names, latents), amounts, order),
        headings=over if headings is None else named("headings", headings, columns),
        components=[""] if components is None else named("components", components, count),
        size=latents,
    )
