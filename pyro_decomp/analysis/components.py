"""Components of a run's prior: how much of the data each holds, and which are empty or merged."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp.analysis.encoding import BATCH_ELEMENTS, EncodedData
from pyro_decomp.errors import ModelError
from pyro_decomp.metrics.mixture_components import empty_components, merged_components
from pyro_decomp.programs.prior_components import PriorComponents
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.seeds import seeded

FIRST = 20  # data that are run to see what is there
MAX_ROWS = 10_000  # data that are looked at
DRAWS_OF_EACH = 200  # draws of the prior for each of its components, between these two
MIN_DRAWS, MAX_DRAWS = 2_000, 20_000
ELEMENTS = 2**24  # components times elements of latent sites at once
NAMED = 10  # components that a sentence names


def components(data: EncodedData, *, seed: int = 0) -> dict[str, Any]:
    r"""Occupancy of the prior's components by the aggregate posterior, and what is wrong with it.

    .. math:: \mathrm{occupancy}_c = \frac{1}{N} \sum_n p(c|z_n), \quad z_n \sim q(z|x_n)

    which is the prior's own weight of c where q(z) = p(z). What the components are, see
    :class:`.PriorComponents`; of a discrete site that the guide infers
    it is the mean of q(c|x_n).

    Args:
        data: The data and their encodings; up to 10,000 are taken, chosen at random.
        seed: The seed of every draw.

    Returns:
        ``sites``: name and number of values of each site that makes up a component;
        ``occupancy`` and ``weights``, of one component after the other, that of several sites as
        rows and columns of a table are read; ``empty``, the components of which
        :func:`.empty_components` tells; ``merged``, the groups that :func:`.merged_components`
        finds of ``num_draws`` draws of the prior; and ``num_rows``, the number of data.

    Raises:
        ModelError: The prior has no components, or more than 1,000, or no latent site of a datum.
    """
    with seeded(seed), torch.no_grad():
        counts, valid = data.counts, data.valid
        counts = torch.ones(len(data), dtype=torch.float64) if counts is None else counts
        rows = valid[torch.randperm(len(valid))[:MAX_ROWS]].sort().values
        share = counts[rows] / counts[rows].sum()
        occupancy: Float[np.ndarray, " k"] = np.zeros(1)
        weights, draws = occupancy, []
        for some, prior, pair in _batches(data, rows):
            of_datum = share[some].numpy()
            z = {name: pair.guide.nodes[name]["value"] for name in pair.latents}
            occupancy = occupancy + of_datum @ _plain(prior.responsibilities(z, is_drawn=True))
            wanted = min(max(DRAWS_OF_EACH * len(occupancy), MIN_DRAWS), MAX_DRAWS)
            repeats = -(-wanted // len(rows))
            for _ in range(repeats):
                joint = prior.joint(pair.prior.draw()[0])
                weights = weights + of_datum @ _plain(joint.log_weights.exp()) / repeats
                draws.append(_plain(joint.log_joint.flatten(0, -2).softmax(0)))
    drawn = np.concatenate(draws)
    return {
        "sites": joint.sizes,
        "occupancy": occupancy.tolist(),
        "weights": weights.tolist(),
        "empty": empty_components(occupancy, weights, len(rows)),
        "merged": merged_components(drawn) if joint.is_mixture else [],
        "num_rows": len(rows),
        "num_draws": len(drawn),
    }


def assigned(data: EncodedData, rows: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The component that is most responsible for the mean code of each datum.

    Returns:
        The number of the component of each row, several sites' values in the order of a table.

    Raises:
        ModelError: As :func:`components`; or the mean of a site's family is not known.
    """
    found = torch.empty_like(rows)
    order = rows.argsort()  # a guide may know data by their order
    with seeded(0), torch.no_grad():
        for some, prior, pair in _batches(data, rows[order]):
            means = data.latents(rows[order[some]])
            z = {name: means[name].movedim(0, axis) for name, axis in pair.axes.items()}
            found[order[some]] = prior.responsibilities(z, is_drawn=False).argmax(0).cpu()
    return found


def described(found: Mapping[str, Any]) -> str:
    """What :func:`components` found, as one sentence. Internal.

    >>> described({"occupancy": [0.5, 0.0, 0.3, 0.2], "empty": [1], "merged": [[2, 3]]})
    '4 components of the prior: 1 is empty; 2 and 3 are merged'
    """
    faults = []
    if found["empty"]:
        faults.append(_words(found["empty"]) + (" is" if len(found["empty"]) == 1 else " are"))
        faults[-1] += " empty"
    if found["merged"]:
        groups = [_words(group) for group in found["merged"][:NAMED]]
        more = len(found["merged"]) - NAMED
        faults.append("; ".join(groups) + (f"; {more} more groups" if more > 0 else ""))
        faults[-1] += " are merged"
    if len(found["occupancy"]) == 1:
        return f"1 component of the prior: it {'is empty' if faults else 'holds all data'}"
    number = len(found["occupancy"])
    return f"{number} components of the prior: {'; '.join(faults) or 'all hold data, none merged'}"


def _batches(
    data: EncodedData, rows: Int[Tensor, " n"]
) -> Iterator[tuple[Int[Tensor, " b"], PriorComponents, TracePair]]:
    """Positions among the rows, and components, guide and model of the data there.

    Raises:
        ModelError: As :func:`components`.
    """

    def looked_at(some: Int[Tensor, " b"]) -> tuple[PriorComponents, TracePair]:
        pair = data.pair(rows[some])
        return PriorComponents(pair, partial(data.model, *data.batch(rows[some]))), pair

    few = torch.arange(len(rows[:FIRST]))
    prior, pair = looked_at(few)
    if not pair.latents:
        raise ModelError("components: expected a latent site inside the data plate, got none")
    number = prior.joint(pair.prior.draw()[0]).log_joint.shape[:-1].numel()
    elements = sum(pair.guide.nodes[n]["value"].numel() for n in pair.latents) // len(few)
    size = min(ELEMENTS // (number * elements), BATCH_ELEMENTS // data.data.datum_size)
    for some in torch.arange(len(rows)).split(max(2, size)):
        yield some, *looked_at(some)


def _words(components: Sequence[int]) -> str:
    """The first components by number, and how many more there are."""
    named = [str(component) for component in components[:NAMED]]
    more = len(components) - len(named)
    last = f"{more} more" if more else named.pop()
    return f"{', '.join(named)} and {last}" if named else last


def _plain(of_components: Tensor) -> Float[np.ndarray, "b k"]:
    """Values of all components as an array with a row a datum."""
    flat: Float[np.ndarray, "b k"] = of_components.flatten(0, -2).T.double().cpu().numpy()
    return flat
