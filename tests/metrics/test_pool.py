"""Draws with one factor held fixed."""

import numpy as np
import torch

from pyro_decomp.metrics.arrays import as_factors
from pyro_decomp.metrics.pool import Pool
from tests.statistics import assert_mean


def test_partners_share_the_level_and_are_uniform() -> None:
    generator = np.random.default_rng(0)
    v = generator.integers([2, 7], size=[60, 2])
    pool = Pool(as_factors(v, num_rows=60))
    for factor in (0, 1):
        rows = generator.integers(60, size=[5, 1])
        drawn = pool.partners(factor, rows, (5, 20_000), generator)
        for row, partners in zip(rows[:, 0], drawn, strict=True):
            alike = np.flatnonzero(v[:, factor] == v[row, factor])
            hits = torch.from_numpy(partners[:, None] == alike).double()
            assert_mean(hits, 1 / len(alike))


def test_the_smallest_group() -> None:
    v = np.array([[0, 0], [0, 1], [1, 1], [1, 1], [0, 0]])
    assert Pool(as_factors(v, num_rows=5)).smallest == 2
