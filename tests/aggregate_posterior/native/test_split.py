from threading import get_ident

import pytest
import torch

from pyro_decomp.aggregate_posterior.native.split import num_shares, run_split


@pytest.mark.parametrize(("units", "shares"), [(1, 1), (10, 3), (2, 4), (7, 7)])
def test_every_unit_is_done_once_in_threads_of_their_own(units: int, shares: int) -> None:
    done: list[int] = []
    called: dict[int, int] = {}

    def function(share: int, begin: int, end: int) -> int:
        called[share] = get_ident()
        done.extend(range(begin, end))
        return 0

    run_split(function, units, shares)
    assert sorted(done) == list(range(units))
    assert sorted(called) == list(range(shares))
    assert called[0] == get_ident()
    assert get_ident() not in [called[share] for share in range(1, shares)]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_share_that_fails(failing: int) -> None:
    ended: list[int] = []

    def function(share: int, begin: int, end: int) -> int:
        ended.append(share)
        return int(share == failing)

    with pytest.raises(MemoryError, match="sums over pairs"):
        run_split(function, 4, 2)
    assert sorted(ended) == [0, 1]  # none is still at work


def test_small_work_is_not_split() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert [num_shares(work, 10) for work in (0, 19, 20, 1000)] == [1, 1, 2, 2]
    finally:
        torch.set_num_threads(before)
