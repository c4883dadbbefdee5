"""What one latent dimension after the other does to the data, about the encoding of a datum."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp.analysis.components import assigned
from pyro_decomp.analysis.generation import traversal
from pyro_decomp.analysis.pictures.outputs import drawable
from pyro_decomp.analysis.pictures.picture_data import (
    Column,
    PictureData,
    drawing_of,
    is_discrete,
)
from pyro_decomp.analysis.plot_calls import Drawing
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.sites import Site

STEPS = 11  # values that a dimension takes
ENDS = (0.025, 0.975)  # quantiles of q(z) between which they lie, evenly
MAX_COMPONENTS = 10
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


def still(moved: Moved | None) -> Drawing | None:
    """All values of a dimension side by side."""
    return moved and drawing_of("traversals", moved.decoded, moved.values, **moved.arguments)


def moving(moved: Moved | None) -> Drawing | None:
    """One value of every dimension after the other, as frames."""
    return moved and drawing_of("traversal_frames", moved.decoded, moved.values, **moved.arguments)


def moved_in(data: PictureData) -> Moved | None:
    """The most informative dimensions moved, for each component of a mixture; None if none can."""
    free = [d for d in data.order.tolist() if can_move(data, data.columns[d])]
    groups = components(data) or {"": np.arange(len(data))}
    drawn = free[: max(1, min(MAX_ROWS, MAX_PANELS // len(groups)))]
    if not drawn:
        return None
    values = np.stack([ranges(data, members) for members in groups.values()])
    decoded = np.stack(
        [
            [decode(data, base, d, values[i, d]) for d in drawn]
            for i, members in enumerate(groups.values())
            for base in typical(data, members)
        ]
    )
    values = values[:, drawn]
    arguments: dict[str, Any] = {"names": [data.columns[d].label for d in drawn]}
    if data.information is not None:
        arguments["information"] = data.information[drawn]
    if len(groups) > 1:
        arguments["components"] = list(groups)
    else:
        decoded, values = decoded[0], values[0]
    return Moved(decoded, values, arguments)


def can_move(data: PictureData, column: Column) -> bool:
    """Whether one dimension can be set by itself, unlike those of a point on a sphere."""
    site: Site = data.pairs[0].model.nodes[column.site]
    support = site["fn"].support
    while hasattr(support, "base_constraint"):  # of Independent, of a mixture
        support = support.base_constraint
    return bool(support.event_dim == 0)


def ranges(data: PictureData, members: Members) -> Float[np.ndarray, "d steps"]:
    """Values for each dimension, evenly between the quantiles of some data's sampled codes."""
    low, high = np.quantile(data.sampled[members], ENDS, axis=0)
    return np.linspace(low, high, STEPS, axis=-1)


def typical(data: PictureData, members: Members, count: int = 1) -> Members:
    """Those of some data whose codes are nearest to their median, in units of all codes' scales."""
    scale = data.codes.std(0)
    codes = data.codes[members] / np.where(scale > 0, scale, 1.0)
    distances = np.square(codes - np.median(codes, axis=0)).sum(1)
    return members[np.argsort(distances, kind="stable")[:count]]


def decode(
    data: PictureData, base: int, dimension: int, values: Float[np.ndarray, " steps"]
) -> Float[np.ndarray, "..."]:
    """The data as one dimension of a datum's mean code takes other values."""
    column = data.columns[dimension]
    moved = traversal(
        data.encoded,
        column.site,
        torch.from_numpy(values),
        row=int(data.rows[base]),
        dim=column.dim,
        seed=data.seed,
        below=data.below[column.site],
    )
    return drawable(moved.x.cpu()).double().numpy()


def components(data: PictureData) -> dict[str, Int[np.ndarray, " _"]]:
    """Components of the prior to the data in each, by name; none for a prior of another kind.

    A discrete site of one number a datum; or a mixture inside one site, each of whose components,
    counted from 0, has the data of whose codes it is most responsible.
    """
    site, members = _discrete(data) or _mixture(data) or ("", torch.zeros(0))
    groups = {int(k): np.flatnonzero(members.numpy() == int(k)) for k in members.unique()}
    if not 2 <= len(groups) <= MAX_COMPONENTS:
        return {}
    return {f"{site} {k}": rows for k, rows in groups.items()}


def _discrete(data: PictureData) -> tuple[str, Tensor] | None:
    model = data.pairs[0].model
    for name, value in data.means.items():
        if is_discrete(model.nodes[name]) and value.shape[1] == 1:
            return f"{name} =", value[:, 0]
    return None


def _mixture(data: PictureData) -> tuple[str, Tensor] | None:
    try:
        return "component", assigned(data.encoded, data.rows)
    except ModelError:
        return None
