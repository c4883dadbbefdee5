"""What one latent dimension after the other does to the data, about the encoding of a datum."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from pyro_decomp import plots
from pyro_decomp.analysis.generation import traverse
from pyro_decomp.analysis.pictures.components import components
from pyro_decomp.analysis.pictures.outputs import drawable
from pyro_decomp.analysis.pictures.scene import Column, Scene
from pyro_decomp.programs.sites import Site

STEPS = 11  # values that a dimension takes
ENDS = (0.025, 0.975)  # quantiles of q(z) between which they lie, evenly
MAX_ROWS, MAX_PANELS = 10, 40  # dimensions that are drawn, and times the components

Members = Int[np.ndarray, " _"]


class Moved(NamedTuple):
    """What dimensions do to data, and how that is to be drawn.

    Attributes:
        decoded: The data as each dimension takes its values, for each component of a mixture.
        values: These.
        arguments: Names, and what is known of the dimensions.
    """

    decoded: np.ndarray
    values: np.ndarray
    arguments: dict[str, Any]


def still(moved: Moved | None) -> Figure | None:
    """All values of a dimension side by side."""
    return moved and plots.traversals(moved.decoded, moved.values, **moved.arguments)


def moving(moved: Moved | None) -> np.ndarray | None:
    """One value of every dimension after the other, as frames."""
    return moved and plots.traversal_frames(moved.decoded, moved.values, **moved.arguments)


def moved_in(scene: Scene) -> Moved | None:
    """The most informative dimensions moved, for each component of a mixture; None if none can."""
    free = [d for d in scene.order.tolist() if can_move(scene, scene.columns[d])]
    groups = components(scene) or {"": np.arange(len(scene.data))}
    drawn = free[: max(1, min(MAX_ROWS, MAX_PANELS // len(groups)))]
    if not drawn:
        return None
    values = np.stack([ranges(scene, members) for members in groups.values()])
    decoded = np.stack(
        [
            [decode(scene, base, d, values[i, d]) for d in drawn]
            for i, members in enumerate(groups.values())
            for base in typical(scene, members)
        ]
    )
    values = values[:, drawn]
    arguments: dict[str, Any] = {"names": [scene.columns[d].label for d in drawn]}
    if scene.information is not None:
        arguments["information"] = scene.information[drawn]
    if len(groups) > 1:
        arguments["components"] = list(groups)
    else:
        decoded, values = decoded[0], values[0]
    return Moved(decoded, values, arguments)


def can_move(scene: Scene, column: Column) -> bool:
    """Whether one dimension can be set by itself, unlike those of a point on a sphere."""
    site: Site = scene.pairs[0].model.nodes[column.site]
    support = site["fn"].support
    while hasattr(support, "base_constraint"):  # of Independent, of a mixture
        support = support.base_constraint
    return bool(support.event_dim == 0)


def ranges(scene: Scene, members: Members) -> Float[np.ndarray, "d steps"]:
    """Values for each dimension, evenly between the quantiles of some data's sampled codes."""
    low, high = np.quantile(scene.sampled[members], ENDS, axis=0)
    return np.linspace(low, high, STEPS, axis=-1)


def typical(scene: Scene, members: Members, count: int = 1) -> Members:
    """Those of some data whose codes are nearest to their median, in units of all codes' scales."""
    scale = scene.codes.std(0)
    codes = scene.codes[members] / np.where(scale > 0, scale, 1.0)
    distances = np.square(codes - np.median(codes, axis=0)).sum(1)
    return members[np.argsort(distances, kind="stable")[:count]]


def decode(
    scene: Scene, base: int, dimension: int, values: Float[np.ndarray, " steps"]
) -> Float[np.ndarray, "..."]:
    """The data as one dimension of a datum's mean code takes other values."""
    column = scene.columns[dimension]
    x = scene.data[torch.tensor([base], device=scene.data.device)]
    moved = traverse(
        scene.run, column.site, torch.from_numpy(values), dim=column.dim, x=x, seed=scene.seed
    )
    return drawable(moved.x.cpu()).double().numpy()
