"""Tables of what a run is made of and of what was measured on it, for a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pyro_decomp.analysis.quantities import HALF_WIDTH, STANDARD_ERROR
from pyro_decomp.descriptions import weighted_sum
from pyro_decomp.training.display import number_text

if TYPE_CHECKING:
    from pyro_decomp.analysis.summary import SiteSummary, Summary

LEGEND = "\N{PLUS-MINUS SIGN} is half of a 95 % confidence interval over data or samples of q(z)"


def metrics_table(metrics: Mapping[str, Mapping[str, Any]], title: str = "") -> RenderableType:
    """Set out numbers, a row each, with a column for each set of data that they were taken on.

    Half of a number's 95 % interval, 1.96 standard errors, stands behind it, with a legend below;
    what is no number is left out.
    """
    columns = {}
    for heading, values in metrics.items():
        numbers = {name: v for name, v in values.items() if not isinstance(v, Mapping | list)}
        columns[heading] = {
            name: f"{number_text(value)} \N{PLUS-MINUS SIGN} {_half_width(numbers, name)}"
            if f"{name}{STANDARD_ERROR}" in numbers
            else value
            for name, value in numbers.items()
            if not name.endswith(STANDARD_ERROR)
        }
    has_errors = any(name.endswith(STANDARD_ERROR) for each in metrics.values() for name in each)
    around = [Text(title)] if title else [], [Text(LEGEND)] if has_errors else []
    return Group(*around[0], _table("", columns), *around[1])


def scores_table(title: str, scores: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Set out scores of codes, a row each: value, 95 % interval, and the untrained encoder's.

    Where some have a value corrected for its bias, about which the interval is drawn, that is
    their value, with the uncorrected one in a column of its own, ``plug-in``. Below it stands why
    some have no interval, unless none was wanted.
    """
    headings = ("value", "95 % interval", "plug-in", "untrained")
    columns: dict[str, dict[str, Any]] = {heading: {} for heading in headings}
    for name, score in scores.items():
        corrected = score.get("corrected")
        columns["value"][name] = score["value"] if corrected is None else corrected
        if corrected is not None:
            columns["plug-in"][name] = score["value"]
        if score["interval"] is not None:
            columns["95 % interval"][name] = " to ".join(map(number_text, score["interval"]))
        details = score["details"]
        if details.get("untrained") is not None:
            columns["untrained"][name] = details["untrained"]
        if "p_value" in details:
            columns["value"][f"{name}, p-value"] = details["p_value"]
    table = _table(title, {heading: column for heading, column in columns.items() if column})
    reasons = {name: score.get("no_interval") for name, score in scores.items()}
    if not columns["95 % interval"]:
        return table
    lines = (Text(f"{name} has no interval: {why}") for name, why in reasons.items() if why)
    return Group(table, *lines)


def left_out_lines(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say what was left out of which sets of data, and why: a line for each reason.

    >>> left_out_lines({"train": {"left_out": {"kl": "no density", "mig": "no density"}}})
    ['left out: kl, mig: no density']
    """
    named: dict[tuple[str, str], list[str]] = {}
    for name in dict.fromkeys(name for found in metrics.values() for name in found["left_out"]):
        reasons: dict[str, list[str]] = {}
        for heading, found in metrics.items():
            if name in found["left_out"]:
                reasons.setdefault(found["left_out"][name], []).append(heading)
        for reason, headings in reasons.items():
            where = "" if len(headings) == len(metrics) else f" of {' and '.join(headings)}"
            named.setdefault((where, reason), []).append(name)
    return [f"left out{where}: {', '.join(names)}: {why}" for (where, why), names in named.items()]


def _half_width(numbers: Mapping[str, Any], name: str) -> str:
    half = HALF_WIDTH * float(numbers[f"{name}{STANDARD_ERROR}"])
    return f"{half:.0f}" if 10 <= half < 1e6 else f"{half:#.2g}"


def _table(title: str, columns: Mapping[str, Mapping[str, Any]]) -> Table:
    """Set out columns of named numbers; where it is narrow, names are broken before numbers."""
    table = Table(
        title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False
    )
    table.add_column("", overflow="fold")
    for heading in columns:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        table.add_row(Text(name), *(number_text(column.get(name)) for column in columns.values()))
    return table


def summary_view(summary: "Summary") -> RenderableType:
    """Set out what an experiment runs: data, objective and parameters, then a row a site."""
    shapes = ", ".join(_shape_text(shape) for shape in summary.datum_shapes)
    is_whole = summary.batch_size == summary.num_data
    steps = "all in each step" if is_whole else f"{summary.batch_size} in each step"
    counts = ", ".join(f"{name} {count}" for name, count in summary.parameters.items())
    rows = {
        "data": f"{summary.num_data} of shape {shapes}, {steps}",
        "objective": ": ".join(filter(None, (summary.objective, weighted_sum(summary.weights)))),
        "divergence": summary.divergence if "divergence" in summary.weights else "",
        "scheduled": ", ".join(
            f"{name} from {first:.4g} to {last:.4g}"
            for name, (first, last) in summary.ranges.items()
        ),
        "parameters": f"{sum(summary.parameters.values())}: {counts}",
    }
    facts = Table.grid(padding=(0, 2, 0, 0))
    for name, text in rows.items():
        if text:
            facts.add_row(Text(name), Text(text))
    return Group(facts, Text(), _sites_table(summary), Text())


def _sites_table(summary: "Summary") -> Table:
    kind = "structured" if summary.is_structured else "mean-field"
    table = Table(box=None, pad_edge=False)
    for heading in ("site", "role", "shape", "model", f"guide ({kind})", "KL"):
        table.add_column(heading, overflow="fold")
    model = {site.name: site for site in summary.model}
    guide = {site.name: site for site in summary.guide}
    for name in dict.fromkeys((*model, *guide)):
        site = model.get(name) or guide[name]
        cells = (name, site.role, _shape_text(site.shape), _density_text(model.get(name)))
        table.add_row(
            *map(Text, (*cells, _density_text(guide.get(name)), summary.kl.get(name, "")))
        )
    return table


def _density_text(site: "SiteSummary | None") -> str:
    if site is None:
        return ""
    given = f" given {', '.join(site.depends_on)}" if site.depends_on else ""
    return f"{site.distribution}{given}"


def _shape_text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
