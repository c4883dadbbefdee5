"""What a person sees of a run: its progress, and tables of its numbers."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pyro_decomp.analysis.quantities import HALF_WIDTH, STANDARD_ERROR

if TYPE_CHECKING:
    from pyro_decomp.analysis.summary import SiteSummary, Summary
    from pyro_decomp.training.loop import Progress

LIVE_INTERVAL = 0.125  # seconds between drawings on a terminal
LINE_INTERVAL = 10.0  # seconds between lines elsewhere
LINE_FRACTION = 0.1  # of the run between lines elsewhere
BAR_WIDTH = 24
BAR_NEEDS = 80  # a terminal narrower than this has no room for a bar

LEGEND = "\N{PLUS-MINUS SIGN} is half of a 95 % confidence interval over data or samples of q(z)"


def number_text(value: Any) -> str:
    """Write a number with four significant digits, and what is left of the point up to a million.

    >>> number_text(-0.12), number_text(12345.678), number_text(400), number_text(None)
    ('-0.1200', '12346', '400', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool | int | str):
        return str(value)
    if 1e3 <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:#.4g}"


def duration_text(seconds: float) -> str:
    """Write a duration as hours, minutes and seconds; ``-:--:--`` where it is not known yet."""
    return str(timedelta(seconds=round(seconds))) if math.isfinite(seconds) else "-:--:--"


def progress_pieces(progress: "Progress") -> list[str]:
    """Write progress as pieces of text, none of which may be broken across lines."""
    rate = progress.steps_per_second
    return [
        f"step {progress.step}/{progress.total_steps}",
        *(f"{name} {number_text(value)}" for name, value in progress.values.items()),
        f"{rate:.0f} steps/s" if rate >= 10 else f"{rate:.2f} steps/s",
        f"{duration_text(progress.seconds_left)} left",
    ]


def fill_lines(pieces: list[str], width: int) -> list[str]:
    """Set pieces of text side by side, two spaces apart, on as few lines as their width allows."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 2 + len(piece) <= width:
            lines[-1] += f"  {piece}"
        else:
            lines.append(piece)
    return lines


class LiveReporter:
    """Draws progress in place on a terminal, at most every ``LIVE_INTERVAL`` seconds.

    Args:
        console: Where to.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._due = -math.inf
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=sys.stderr.isatty())

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, progress: "Progress") -> None:
        """Draw the progress if the last drawing is old enough, or the run is at its end."""
        now = self._clock()
        if now < self._due and progress.step < progress.total_steps:
            return
        self._due = now + LIVE_INTERVAL
        self._live.update(self._drawing(progress), refresh=True)

    def _drawing(self, progress: "Progress") -> Table | Text:
        width = self._console.width
        has_bar = width >= BAR_NEEDS
        room = width - (BAR_WIDTH + 2) * has_bar
        lines = "\n".join(fill_lines(progress_pieces(progress), room))
        text = Text(lines, no_wrap=True, overflow="ellipsis")
        if not has_bar:
            return text
        grid = Table.grid(padding=(0, 2, 0, 0))
        bar = ProgressBar(progress.total_steps, progress.step, width=BAR_WIDTH)
        grid.add_row(bar, text)
        return grid


class LineReporter:
    """Prints progress as lines, for a file or a pipe.

    The first step, the last, and between them one where both ``LINE_INTERVAL`` seconds and
    ``LINE_FRACTION`` of the run have passed since the line before.

    Args:
        console: Where to.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._due = -math.inf
        self._due_step = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __call__(self, progress: "Progress") -> None:
        """Print the progress if a line is due."""
        is_last = progress.step >= progress.total_steps
        if progress.step < self._due_step and not is_last:
            return
        now = self._clock()
        if now < self._due and not is_last:
            return
        self._due = now + LINE_INTERVAL
        self._due_step = progress.step + LINE_FRACTION * progress.total_steps
        line = "  ".join(progress_pieces(progress))
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def progress_reporter(console: Console) -> LiveReporter | LineReporter:
    """Choose how to report progress: drawn in place on a terminal, as lines elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveReporter(console)
    return LineReporter(console)


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
        "objective": f"{summary.objective}: {_sum_text(summary.weights)}",
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


def _sum_text(weights: Mapping[str, float]) -> str:
    """Write a weighted sum as one would by hand: ``log_likelihood - 3 kl``."""
    text = ""
    for name, weight in weights.items():
        sign = "-" if weight < 0 else "+"
        size = "" if abs(weight) == 1 else f"{abs(weight):.4g} "
        text += f" {sign} {size}{name}"
    return text.removeprefix(" + ").strip()


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
