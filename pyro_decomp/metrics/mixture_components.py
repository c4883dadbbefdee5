"""Which components of a mixture are empty, and which cannot be told apart. Internal."""

from collections import Counter

import numpy as np
from jaxtyping import Float

EMPTY = 0.1  # of a component's weight, or of one datum
MERGED = float(np.exp(-0.5))  # two equal Gaussians two scales apart: the last with a single mode
FEWEST_DRAWS = 10  # by which a component's overlap with others is judged


def empty_components(
    occupancy: Float[np.ndarray, " k"], weights: Float[np.ndarray, " k"], num_rows: float
) -> list[int]:
    """Components that hold less than a tenth of their weight, or of one datum.

    Args:
        occupancy: The share of the data that each holds: its mean responsibility.
        weights: The prior's own weights.
        num_rows: Number of data.

    >>> empty_components(np.array([0.5, 0.49, 0.01]), np.array([0.4, 0.4, 0.2]), 1000)
    [2]
    """
    is_empty = (occupancy < EMPTY * weights) | (occupancy * num_rows < EMPTY)
    return [int(component) for component in np.flatnonzero(is_empty)]


def component_overlap(responsibilities: Float[np.ndarray, "s k"]) -> Float[np.ndarray, "k k"]:
    r"""The Bhattacharyya coefficient of every two components, from draws of their mixture.

    .. math:: \int \sqrt{p(z|a) p(z|b)} dz = E_{p(z)}\Big[\sqrt{p(a|z) p(b|z)}\Big] / \sqrt{w_a w_b}

    From 0, nowhere both, to 1, the same. exp(-d^2/8) for Gaussians of one covariance that are d
    scales apart. Weights, and what other components there are, do not enter.

    Args:
        responsibilities: p(c|z) of draws z of the mixture, a row a draw; the weights are taken to
            be their means.

    Reference:
        Bhattacharyya, On a measure of divergence between two statistical populations defined by
        their probability distributions, 1943.

    >>> component_overlap(np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])).round(6).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    roots = np.sqrt(responsibilities)
    products = roots.T @ roots
    scale = np.sqrt(np.diag(products))
    return products / np.where(scale > 0, scale, 1.0) / np.where(scale > 0, scale, 1.0)[:, None]


def merged_components(responsibilities: Float[np.ndarray, "s k"]) -> list[list[int]]:
    r"""Groups of components whose densities overlap so far that they are one cluster.

    Two are merged where their :func:`component_overlap` is above exp(-1/2): two Gaussians of one
    covariance and the same weight that are nearer than two scales have one mode between them. A
    group is what such pairs join together. Components that make up fewer than 10 of the draws are
    left out, as too little is known of them.

    Args:
        responsibilities: As :func:`component_overlap` takes them; thousands of draws.

    >>> near = np.random.default_rng(0).normal(size=[1000, 1]) + [[0.0, 0.5]]
    >>> density = np.exp(-0.5 * near**2)
    >>> merged_components(density / density.sum(1, keepdims=True))
    [[0, 1]]
    """
    known = responsibilities.sum(0) >= FEWEST_DRAWS
    is_near = (component_overlap(responsibilities) > MERGED) & known & known[:, None]
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 - a third of a second

    _, group = connected_components(is_near, directed=False)
    sizes = Counter(group.tolist())
    groups = [np.flatnonzero(group == one).tolist() for one, size in sizes.items() if size > 1]
    return sorted(groups)
