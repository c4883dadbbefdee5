"""D(q(z), p(z)) from samples of both, beside what it would be if the two were equal."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes
from pyro_decomp.metrics.bootstrap import estimate
from pyro_decomp.metrics.score import Score

if TYPE_CHECKING:
    from torch import Tensor

# torch is loaded once there is something to score.
# ruff: noqa: PLC0415

Distance = Callable[["Tensor", "Tensor"], "Tensor"]


def divergence_from_prior(
    codes: object,
    prior: Any,
    *,
    distance: Distance | None = None,
    num_samples: int = 500,
    num_null: int = 99,
    num_resamples: int = 100,
    seed: int = 0,
) -> Score:
    r"""A distance between codes and draws of the prior, with its null distribution.

    .. math::
        p = \frac{1 + \#\{D_r \ge D\}}{1 + R}, \quad
        \zeta = \frac{D - mean(D_r)}{sd(D_r)}

    with D_r the same distance between two independent samples of the prior, of the same sizes:
    what D is by chance where q(z) = p(z). ``details`` has ``p_value``, ``z_score`` (zeta) and
    ``null``. The p-value is uniform on 1/(R+1), ..., 1 where the codes are independent draws of the
    prior, so a small one is evidence against that, for any distance (Phipson & Smyth, "Permutation
    p-values should never be zero", 2010, https://doi.org/10.2202/1544-6115.1585). With few rows a
    large one says little.

    Give *sampled* codes: mean codes have a smaller spread than q(z), and differ from the prior even
    where q(z) does not.

    Args:
        codes: [n, d], one draw of each encoding a row.
        prior: What p(z) is:

            - a torch or Pyro distribution over d dimensions;
            - a function of a number that gives as many draws, [count, d], from torch's global
              generator, which is seeded around it;
            - an array of draws [m, d]. The null is then that of a permutation test: codes and draws
              pooled and split at random.
        distance: Function of two samples, tensors [n, d] in double precision, that gives a scalar:
            :func:`.energy_distance` (by default; it has no scale to choose), :func:`.mmd`, or
            :func:`.sliced_wasserstein` with directions filled in.
        num_samples: Rows used at most, drawn without replacement; as many of the prior.
        num_null: R, null values; at least 1.
        num_resamples: Of the interval, which halves of both samples give; 0 for none. It is too
            wide where the distance is near 0.
        seed: Of all draws.

    Returns:
        The score, with ``p_value``, ``z_score`` and the distances ``null`` under equality.

    Raises:
        DataError: The codes are no matrix of finite numbers, or have fewer than 4 rows; the prior
            is of another form or has other dimensions.
        ArgumentError: A number is out of its range.
    """
    least = {"num_samples": 4, "num_null": 1, "num_resamples": 0, "seed": 0}
    arguments.annotated(divergence_from_prior, locals(), **least)
    import torch

    from pyro_decomp.divergences import energy_distance
    from pyro_decomp.divergences.pairs import MINUS_DISTANCE, u_statistic

    chosen = energy_distance if distance is None else distance
    distance = distance or partial(u_statistic, radial=MINUS_DISTANCE)  # the samples are checked
    z = torch.from_numpy(as_codes(codes))
    if len(z) < 4:
        raise DataError(f"codes: expected at least 4 rows for divergence_from_prior, got {len(z)}")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(int(seed))
        x = _some(z, num_samples)
        y, null_pair = _prior_samples(prior, x, num_samples)
        value = float(distance(x, y))
        null = np.array([float(distance(*null_pair())) for _ in range(num_null)])

        def statistic(rows: Float[np.ndarray, " half"]) -> float:
            others = rows if len(y) == len(x) else torch.randperm(len(y))[: len(y) // 2]
            return float(distance(x[rows], y[others]))

        likely = estimate(statistic, len(x), value=value, num_resamples=num_resamples, seed=seed)
    spread = null.std(ddof=1) if num_null > 1 else 0.0
    details = {
        "p_value": float((1 + np.sum(null >= value)) / (1 + num_null)),
        "z_score": float((value - null.mean()) / spread) if spread > 0 else None,
        "null": null,
    }
    variant = {
        "distance": getattr(chosen, "__name__", repr(chosen)),
        "null": "prior" if _can_be_drawn(prior) else "permutation",
        "num_rows": len(x),
        "num_prior_rows": len(y),
        "num_null": num_null,
        "num_resamples": num_resamples,
        "seed": seed,
    }
    return Score(
        name="divergence_from_prior",
        value=value,
        variant=variant,
        details=details,
        **likely._asdict(),
    )


def _can_be_drawn(prior: Any) -> bool:
    return callable(prior) or hasattr(prior, "sample")


def _prior_samples(
    prior: Any, x: "Tensor", limit: int
) -> "tuple[Tensor, Callable[[], tuple[Tensor, Tensor]]]":
    """Draws of the prior, and a function that draws a pair of samples under equality."""
    import torch

    n, d = x.shape
    if _can_be_drawn(prior):

        def draw(count: int) -> "Tensor":
            drawn = _drawn(prior, count, d)
            if drawn.shape != (count, d):
                raise DataError(
                    f"prior: expected draws of shape {[count, d]}, got {list(drawn.shape)}"
                )
            return drawn.to(torch.float64)

        return draw(n), lambda: (draw(n), draw(n))
    y = torch.from_numpy(as_codes(prior, "prior"))
    if len(y) < 4 or y.shape[1] != d:
        raise DataError(f"prior: expected [m, {d}] with m at least 4, got {list(y.shape)}")
    y = _some(y, limit)
    pool = torch.cat([x, y])

    def split() -> "tuple[Tensor, Tensor]":
        order = torch.randperm(len(pool))
        return pool[order[:n]], pool[order[n:]]

    return y, split


def _drawn(prior: Any, count: int, d: int) -> "Tensor":
    import torch

    if not hasattr(prior, "sample"):
        return torch.as_tensor(prior(count))
    each = tuple(prior.batch_shape + prior.event_shape)
    return torch.as_tensor(prior.sample((count,) if each else (count, d)))


def _some(rows: "Tensor", limit: int) -> "Tensor":
    import torch

    return rows if len(rows) <= limit else rows[torch.randperm(len(rows))[:limit]]
