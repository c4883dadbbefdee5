"""The pictures of a comparison, in files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from pyro_decomp import plots
from pyro_decomp.errors import DataError
from pyro_decomp.sweep.combinations import Comparison
from pyro_decomp.sweep.curves import along, curves
from pyro_decomp.sweep.figures import Curves, NothingToDrawError, boxes, scatter, trade_off

MIG = ("mig", "density_mig")
METRICS = (*MIG, "divergence", "kl")  # the first that there is is drawn
COSTS = ("elbo", "log_likelihood")


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        paths: The pictures.
        left_out: Of each picture that was not drawn, why.
    """

    paths: Sequence[Path]
    left_out: Mapping[str, str]


def draw(
    comparison: Comparison, folder: Path, *, metric: str | None = None, against: str | None = None
) -> Drawn:
    """Draw what the runs allow: ``trade_off.png``, ``boxes.png`` and ``scatter.png``.

    ``trade_off``
        The means of ``metric`` over those of ``against`` with 95 % bands, along the argument with
        most values, a curve for each combination of the others.
    ``boxes``
        The runs' ``metric``, a box a combination.
    ``scatter``
        The runs' MIG over their total correlation where they have both and none is asked for, else
        ``metric`` over ``against``; larger points have a higher value of the argument along the
        curves.

    Args:
        comparison: What to draw.
        folder: Where to; made if it is not there.
        metric: By default the first that all combinations have of the MIG, KL(p(z) || q(z)) and
            the KL.
        against: By default the ELBO, else the log likelihood.

    Raises:
        DataError: There is no such quantity.
    """
    y, x = _chosen(comparison, metric, METRICS), _chosen(comparison, against, COSTS)
    total_correlation = _chosen(comparison, None, ("total_correlation",))
    mig = _chosen(comparison, None, MIG)
    of_scatter = (y, x)
    if metric is None and against is None and mig is not None and total_correlation is not None:
        of_scatter = (mig, total_correlation)
    argument = along(comparison)
    drawn = Curves(argument, curves(comparison, argument))
    makers: dict[str, Callable[[], Figure]] = {
        "trade_off.png": lambda: trade_off(drawn, *_two(y, x)),
        "boxes.png": lambda: boxes(drawn, *_one(y)),
        "scatter.png": lambda: scatter(drawn, *_two(*of_scatter)),
    }
    paths, left_out = [], {}
    for name, make in makers.items():
        try:
            figure = make()
        except NothingToDrawError as reason:
            left_out[name] = str(reason)
            continue
        folder.mkdir(parents=True, exist_ok=True)
        plots.save(figure, folder / name)
        paths.append(folder / name)
    return Drawn(paths, left_out)


def _chosen(comparison: Comparison, name: str | None, usual: Sequence[str]) -> str | None:
    """The quantity asked for; else the first of the usual that all combinations have, or any."""
    if name is None:
        candidates = [full for each in usual for full in (f"train.{each}", each)]
        known = [full for full in candidates if full in comparison.available]
        finished = [one for one in comparison.combinations if one.num_finished]
        of_all = [full for full in known if all(one.values(full) for one in finished)]
        return next(iter([*of_all, *known]), None)
    found = comparison.find(name)
    if found is None:
        there = ", ".join(comparison.available) or "none"
        raise DataError(f"expected a quantity among {there}, got {name!r}")
    return found


def _one(metric: str | None) -> tuple[str]:
    if metric is None:
        raise NothingToDrawError("there is no quantity to draw")
    return (metric,)


def _two(metric: str | None, against: str | None) -> tuple[str, str]:
    if metric is None or against is None or metric == against:
        raise NothingToDrawError("there are not two quantities to draw")
    return metric, against
