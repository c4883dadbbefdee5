import pytest

from pyro_decomp.seeds import derive


def test_a_purpose_has_one_seed() -> None:
    assert derive(3, 2, 7) == derive(3, 2, 7)


def test_purposes_and_seeds_do_not_collide() -> None:
    paths = [(1,), *((2, epoch) for epoch in range(500))]
    seeds = {derive(seed, *path) for seed in range(20) for path in paths}
    # 10,020 of 2**32 values: one chance collision in 86 such sets, and this set is fixed
    assert len(seeds) == 20 * len(paths)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_seed_is_not_negative() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        derive(-1, 1)
