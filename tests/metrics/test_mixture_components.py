"""Empty and merged components, where the overlap of Gaussians is known in closed form."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pyro_decomp.metrics.mixture_components import (
    component_overlap,
    empty_components,
    merged_components,
)


def responsibilities(
    locs: list[float], weights: list[float] | None = None, number: int = 20_000
) -> NDArray[np.float64]:
    """Of draws of a mixture of Gaussians of scale 1."""
    generator = np.random.default_rng(0)
    w = np.full(len(locs), 1 / len(locs)) if weights is None else np.array(weights)
    z = np.array(locs)[generator.choice(len(locs), p=w, size=number)] + generator.normal(
        size=number
    )
    density = w * np.exp(-0.5 * (z[:, None] - locs) ** 2)
    return density / density.sum(1, keepdims=True)


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.9, 0.1]])
def test_the_overlap_of_gaussians(weights: list[float]) -> None:
    """exp(-d^2/8), within five standard errors of 20,000 draws."""
    for distance in (0.0, 1.0, 2.0, 4.0):
        overlap = component_overlap(responsibilities([0.0, distance], weights))
        assert np.diag(overlap) == pytest.approx([1.0, 1.0])
        assert overlap[0, 1] == overlap[1, 0]
        assert overlap[0, 1] == pytest.approx(np.exp(-(distance**2) / 8), abs=0.02)


@pytest.mark.parametrize("weights", [[0.4, 0.4, 0.2], [0.1, 0.1, 0.8]])
def test_other_components_do_not_enter(weights: list[float]) -> None:
    overlap = component_overlap(responsibilities([0.0, 1.0, 0.5], weights, 100_000))
    assert overlap[0, 1] == pytest.approx(np.exp(-1 / 8), abs=0.02)


def test_merged_where_there_is_one_mode() -> None:
    """An equal mixture of two Gaussians has one mode if they are at most two scales apart."""
    assert merged_components(responsibilities([0.0, 1.9])) == [[0, 1]]
    assert merged_components(responsibilities([0.0, 2.1])) == []
    assert merged_components(responsibilities([0.0, 9.0, 1.0, 30.0, 9.5])) == [[0, 2], [1, 4]]
    assert merged_components(responsibilities([0.0] * 10)) == [list(range(10))]


def test_merged_in_a_chain() -> None:
    assert merged_components(responsibilities([0.0, 1.5, 3.0, 30.0])) == [[0, 1, 2]]


def test_nothing_is_said_of_components_that_are_hardly_drawn() -> None:
    assert merged_components(responsibilities([0.0, 0.5], [1 - 1e-5, 1e-5], 1000)) == []


def test_empty() -> None:
    weights = np.array([0.7, 0.1, 0.1, 0.1])
    assert empty_components(np.array([0.97, 0.009, 0.0101, 0.0109]), weights, 10**6) == [1]
    learned = np.array([1 - 1e-9, 1e-9])  # a dead component keeps what it is given
    assert empty_components(learned, learned, 1000) == [1]
    many = np.full(500, 1 / 500)
    assert empty_components(many, many, 400) == []
