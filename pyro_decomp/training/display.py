"""How far something is, drawn in place on a terminal or in a notebook, in lines elsewhere."""

import html
import math
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# rich and IPython are imported where something is drawn with them.
# ruff: noqa: PLC0415

LIVE_INTERVAL = 0.125  # seconds between drawings on a terminal
NOTEBOOK_INTERVAL = 0.5  # and in a notebook
LINE_INTERVAL = 10.0  # seconds between lines elsewhere
LINE_FRACTION = 0.1  # of the whole between lines elsewhere
BAR_WIDTH = 24
BAR_NEEDS = 80  # a terminal narrower than this has no room for a bar


class Shown(NamedTuple):
    """What is shown of some progress.

    Attributes:
        pieces: Pieces of text, none of which may be broken across lines.
        done: How much is done.
        total: Of how much.
    """

    pieces: list[str]
    done: float
    total: float


class Shower:
    """Shows progress where it is due, which is not more often than its display wants.

    What goes wrong in showing ends the showing, and nothing else: a reader that has gone away, a
    full disk, a terminal without the letters.

    Args:
        display: Where; None shows nothing.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self, display: "Display | None", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._display, self._clock = display, clock
        self._due = self._due_done = self._shown = -math.inf

    def say(self, sentence: str) -> None:
        """Write a line that stays."""
        self._try(lambda display: display.say(sentence))

    def is_due(self, done: float) -> bool:
        """Whether something is to be shown now."""
        return self._display is not None and self._clock() >= self._due and done >= self._due_done

    def show(self, shown: Shown, *, is_last: bool = False) -> None:
        """Show it, whether it is due or not; the last is not shown twice."""
        if self._display is None or (is_last and shown.done == self._shown):
            return
        self._shown = shown.done
        self._due = self._clock() + self._display.interval
        self._due_done = shown.done + self._display.fraction * shown.total
        self._try(lambda display: display.show(shown))

    def close(self) -> None:
        """Show nothing more."""
        self._try(lambda display: display.close())
        self._display = None

    def _try(self, draw: "Callable[[Display], None]") -> None:
        try:
            if self._display is not None:
                draw(self._display)
        except (Exception, SystemExit):  # rich exits where its reader has gone away
            self._display = None


class Lines:
    """A line now and then.

    Args:
        stream: Where to; the standard error stream as it is at each line by default.
    """

    interval, fraction = LINE_INTERVAL, LINE_FRACTION

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream

    def show(self, shown: Shown) -> None:
        """Print all pieces on one line."""
        self.say("  ".join(shown.pieces))

    def say(self, sentence: str) -> None:
        """Print a line; none where the standard error stream is closed."""
        stream = self._stream or sys.stderr
        if stream is None:
            return
        letters = getattr(stream, "encoding", None) or "utf-8"
        print(sentence.encode(letters, "replace").decode(letters), file=stream, flush=True)

    def close(self) -> None:
        """Do nothing: lines are whole."""


class Bar:
    """A bar and the pieces beside it, drawn in place."""

    interval, fraction = LIVE_INTERVAL, 0.0

    def __init__(self, console: "Console") -> None:
        from rich.live import Live

        self._console = console
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=sys.stderr.isatty())

    def say(self, sentence: str) -> None:
        """Print a line above the bar."""
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def show(self, shown: Shown) -> None:
        """Draw it in the place of what was drawn before."""
        if not self._live.is_started:
            self._live.start()
        self._live.update(self._drawing(shown), refresh=True)

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()

    def _drawing(self, shown: Shown) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width = self._console.width
        has_bar = width >= BAR_NEEDS
        lines = fill_lines(shown.pieces, width - (BAR_WIDTH + 2) * has_bar)
        text = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
        if not has_bar:
            return text
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(ProgressBar(shown.total, shown.done, width=BAR_WIDTH), text)
        return grid


class NotebookBar:
    """A bar and the pieces beside it in the output of a cell, updated in place."""

    interval, fraction = NOTEBOOK_INTERVAL, 0.0

    def __init__(self) -> None:
        self._handle: Any = None

    def say(self, sentence: str) -> None:
        """Print a line above the bar."""
        sys.stdout.write(f"{sentence}\n")

    def show(self, shown: Shown) -> None:
        """Draw it in the place of what was drawn before."""
        from IPython.display import display

        drawing = _InNotebook(shown)
        if self._handle is None:
            self._handle = display(drawing, display_id=True)
        else:
            self._handle.update(drawing)

    def close(self) -> None:
        """Do nothing: what was drawn last stays."""


Display = Lines | Bar | NotebookBar
"""Where progress is shown: at most every ``interval`` seconds, and ``fraction`` of the whole."""


class _InNotebook:
    """A drawing of progress as IPython displays it."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    def __repr__(self) -> str:
        return "  ".join(self._shown.pieces)

    def _repr_html_(self) -> str:
        bar = f'<progress value="{self._shown.done:g}" max="{self._shown.total:g}"></progress>'
        pieces = "&ensp; ".join(
            f'<span style="white-space: nowrap">{html.escape(piece)}</span>'
            for piece in self._shown.pieces
        )
        return f"<div>{bar}&ensp; {pieces}</div>"


def display_for(console: "Console | None" = None) -> Display:
    """What suits a console; without one a notebook's cell, a terminal or the standard error."""
    if console is not None:
        is_terminal = console.is_terminal and not console.is_dumb_terminal
        return Bar(console) if is_terminal else Lines(console.file)
    if in_notebook():
        return NotebookBar()
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console

        return Bar(Console(stderr=True))
    return Lines()


def in_notebook() -> bool:
    """Whether this is a cell of a notebook: code that a Jupyter kernel runs."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


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


def fill_lines(pieces: list[str], width: int) -> list[str]:
    """Set pieces of text side by side, two spaces apart, on as few lines as their width allows."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 2 + len(piece) <= width:
            lines[-1] += f"  {piece}"
        else:
            lines.append(piece)
    return lines
