"""How much of a known structure a run has found: functions of arrays."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def matched(score: Tensor) -> tuple[list[int], Tensor]:
    """The one-to-one choice of a column for each row of a square table with the largest sum.

    Returns:
        The columns in the order of the rows, and the scores chosen.
    """
    rows, columns = linear_sum_assignment(score.numpy(), maximize=True)
    return columns.tolist(), score[rows, columns]


def correlations(sources: Tensor, codes: Tensor) -> Tensor:
    """Absolute correlation of each source with each code, ``[k, d]``; 0 with a constant."""
    together = torch.cat([sources, codes], 1).double()
    table = torch.corrcoef(together.T)[: sources.shape[1], sources.shape[1] :]
    return table.abs().nan_to_num()


def explained(sources: Tensor, codes: Tensor, length: int) -> Tensor:
    """Share of the variance of each group of sources that is linear in each group of codes.

    Args:
        sources: ``[n, k]``, the groups one after another.
        codes: ``[n, d]``, likewise.
        length: Of every group.
    """
    targets = (sources - sources.mean(0)).double().split(length, 1)
    inputs = (codes - codes.mean(0)).double().split(length, 1)
    return torch.tensor([[_r_squared(target, given) for given in inputs] for target in targets])


def _r_squared(target: Tensor, given: Tensor) -> float:
    slopes = torch.linalg.lstsq(given, target, driver="gelsd").solution
    return 1 - ((target - given @ slopes).square().sum() / target.square().sum()).item()


def agreement(found: Tensor, true: Tensor) -> float:
    """Share of the data in the right one of k clusters, these named as suits best."""
    size = int(max(found.max(), true.max())) + 1
    counts = torch.zeros(size, size).index_put_(
        (true, found), torch.ones(len(true)), accumulate=True
    )
    return (matched(counts)[1].sum() / len(true)).item()


def k_means(codes: Tensor, num_clusters: int, seed: int = 0) -> Tensor:
    """The cluster of each row by k-means, the best of ten starts."""
    from sklearn.cluster import KMeans  # noqa: PLC0415  # slow to import

    fitted = KMeans(num_clusters, n_init=10, random_state=seed).fit_predict(codes.double().numpy())
    return torch.from_numpy(fitted).long()


def strays(draws: Tensor, data: Tensor, held_out: Tensor, level: float = 0.999) -> float:
    """Share of draws that are further from the nearest datum than held-out data ever are.

    Args:
        draws: Of a model, ``[n, d]``.
        data: Many of the true distribution, ``[m, d]``.
        held_out: Others of it: a draw is astray beyond the ``level`` quantile of their distances.
        level: So about ``1 - level`` of draws of a perfect model are astray.
    """
    far = np.quantile(torch.cdist(held_out, data).amin(1), level)
    return (torch.cdist(draws, data).amin(1) > far).float().mean().item()
