"""The card of a run: what it is, how far it came, its main numbers, one picture, and warnings."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from matplotlib.figure import Figure

from pyro_decomp import plots
from pyro_decomp.analysis.evaluated import Evaluation
from pyro_decomp.analysis.findings import final_terms, findings
from pyro_decomp.analysis.metrics_file import checkpoint_of
from pyro_decomp.analysis.pictures import latent_plane
from pyro_decomp.analysis.pictures.drawing import terms_drawing
from pyro_decomp.analysis.pictures.picture_data import PictureData
from pyro_decomp.analysis.quantities import by_itself
from pyro_decomp.descriptions import card
from pyro_decomp.seeds import seeded
from pyro_decomp.training.run import Run

MOST_MEASURED, MOST_DRAWN = 1000, 500  # data
FEWEST, MOST_ELEMENTS = 20, 2**18  # data, and their elements, so that a card takes no second
DPI = 80


def run_card(run: Run) -> str:
    """A run as HTML, of what is known when it is asked for.

    Numbers are those of ``metrics.json`` where they are of this very state of the run, or else the
    ELBO and its terms (:func:`.findings.final_terms`) over up to 1,000 data. The picture is the
    density of q(z), of up to 500 data, where the latent space is a plane, and else the terms over
    the steps. Of large data these are fewer. What fails is left out, with the reason. The run and
    the random generators are left as they were.
    """
    left_out: dict[str, str] = {}
    numbers, measured_on, said, picture = Evaluation(), "", [], None
    with by_itself(left_out, "numbers"):
        numbers, measured_on = _measured(run) or _final(run)
        found = numbers.get("train", {}).get("findings")
        found = findings(run, numbers, most=_few(run, MOST_DRAWN)) if found is None else found
        said = [*found.values()]
    with by_itself(left_out, "picture"):
        picture = _picture(run)
    facts = {
        "folder": str(run.path),
        "trained": lambda: _length(run),
        **run.experiment.facts,
        "measured on": measured_on,
        **{f"left out: {each.name}": each.reason for each in numbers.quantities() if each.reason},
        **{f"left out: {name}": reason for name, reason in left_out.items()},
    }
    table = [numbers.table()] if numbers else []
    return card("Run", facts, tables=table, picture=picture, warnings=[*_warnings(run), *said])


def _measured(run: Run) -> tuple[Evaluation, str] | None:
    """What ``metrics.json`` has of this state of the run; None where it has nothing."""
    before = run.folder.read_metrics()
    parts = {n: part for n, part in before.items() if isinstance(part, Mapping)}
    of_now = checkpoint_of(run) if parts else None
    known: dict[str, Any] = {n: p for n, p in parts.items() if p.get("checkpoint") == of_now}
    return (Evaluation(known), "all data, by evaluate") if known else None


def _final(run: Run) -> tuple[Evaluation, str]:
    """The ELBO and its terms, and of how many data they are."""
    found, said = Evaluation(), []
    for name, terms in final_terms(run, most=_few(run, MOST_MEASURED)).items():
        some, rows, is_sampled = (terms.pop(each) for each in ("data", "rows", "sampled"))
        said.append(f"{some} of {rows} {name} data" if is_sampled else f"all {some} {name} data")
        found[name] = terms
    return found, ", ".join(said)


def _few(run: Run, most: int) -> int:
    return min(most, max(FEWEST, MOST_ELEMENTS // max(1, run.data.datum_size)))


def _length(run: Run) -> str:
    took = run.resources
    seconds = f", the last {took['steps']} in {took['seconds']:.3g} s" if took else ""
    return f"{run.step} of {run.experiment.total_steps} steps{seconds}"


def _warnings(run: Run) -> Iterator[str]:
    total = run.experiment.total_steps
    if run.step < total:
        ended = "was stopped" if run.interrupted else "ended"
        yield f"the run {ended} at step {run.step} of {total}; run.train() goes on with it"
    for name, schedule in run.experiment.schedules.items():
        if (last := schedule.last_step(total)) > run.step:
            yield f"the schedule of {name} ends at step {last:.0f}, after the run"
    for path in run.state.unkept:
        yield f"{path} could not be kept when the run was saved"


def _picture(run: Run) -> bytes | None:
    with seeded(0), torch.no_grad():
        figure = _density(run)
        names = [name for name in run.history if not name.startswith(("epoch_", "test_"))]
        if figure is None and names:
            drawn = terms_drawing(run, names)()
            assert isinstance(drawn, Figure)
            figure = drawn
    return None if figure is None else plots.saving.png(figure, DPI)


def _density(run: Run) -> Figure | None:
    data = PictureData(run, 0, _few(run, MOST_DRAWN))
    if not latent_plane.is_plane(data.pairs[0]):
        return None
    axis, log_qz, log_pz = latent_plane.density_on_grid(data.pairs)
    return plots.aggregate_density(axis, axis, log_qz, log_pz)
