"""Which data belong to which component of a mixture prior."""

import numpy as np
import torch
from jaxtyping import Int
from pyro.distributions import MixtureSameFamily
from torch import Tensor

from pyro_decomp.pictures.scene import Scene, is_discrete
from pyro_decomp.traces import TracePair

MAX_COMPONENTS = 10


def components(scene: Scene) -> dict[str, Int[np.ndarray, " _"]]:
    """Components of the prior to the data in each, by name; none for a prior of another kind.

    A mixture inside one site, whose data are those of which the component is most likely to have
    drawn the code; or a discrete site of one number a datum.
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
    for name in scene.pairs[0].latents:
        parts = [_likeliest(pair, name) for pair in scene.pairs]
        if all(part is not None for part in parts):
            return "component", torch.cat([part for part in parts if part is not None]).cpu() + 1
    return None


def _likeliest(pair: TracePair, name: str) -> Tensor | None:
    """The component of each datum's sampled code, ``[B]``."""
    fn = pair.model.nodes[name]["fn"]
    if not isinstance(fn, MixtureSameFamily) or len(fn.batch_shape) != 1:
        return None
    z = pair.guide.nodes[name]["value"].unsqueeze(-1 - len(fn.event_shape))
    log_probs = fn.component_distribution.log_prob(z) + fn.mixture_distribution.logits
    index: Tensor = log_probs.argmax(-1)
    return index
