"""Which data belong to which component of a mixture prior."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from pyro_decomp.analysis.components_of_run import assigned
from pyro_decomp.analysis.pictures.scene import Scene, is_discrete
from pyro_decomp.errors import ModelError

MAX_COMPONENTS = 10


def components(scene: Scene) -> dict[str, Int[np.ndarray, " _"]]:
    """Components of the prior to the data in each, by name; none for a prior of another kind.

    A discrete site of one number a datum; or a mixture inside one site, each of whose components,
    counted from 0, has the data of whose codes it is most responsible.
    """
    site, members = _discrete(scene) or _mixture(scene) or ("", torch.zeros(0))
    groups = {int(k): np.flatnonzero(members.numpy() == int(k)) for k in members.unique()}
    if not 2 <= len(groups) <= MAX_COMPONENTS:
        return {}
    return {f"{site} {k}": rows for k, rows in groups.items()}


def _discrete(scene: Scene) -> tuple[str, Tensor] | None:
    model = scene.pairs[0].model
    for name, value in scene.means.items():
        if is_discrete(model.nodes[name]) and value.shape[1] == 1:
            return f"{name} =", value[:, 0]
    return None


def _mixture(scene: Scene) -> tuple[str, Tensor] | None:
    try:
        return "component", assigned(scene.run, scene.data, torch.arange(len(scene.data)))
    except ModelError:
        return None
