"""Lines for a person: what was done, and what went wrong with the exit status that says so."""

import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pyro_decomp.descriptions import visible
from pyro_decomp.errors import DecompError, memory, one_line
from pyro_decomp.training.interruption import ended_by_signals
from pyro_decomp.training.printing import why_lost
from pyro_decomp.training.user_code import place_raised, sentence

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
BY_SIGNAL = 128  # and the number of the signal, as shells have it
PACKAGE = Path(__file__).parent.parent


@contextmanager
def told_in_one_line(
    *, show_traceback: bool = False, folder: Path | None = None, is_printed: bool = False
) -> Iterator[None]:
    """Turn errors into one line and an exit status, and warnings into one line each.

    Args:
        show_traceback: Let errors through as they are.
        folder: The run folder, named when the system does not say what it could not write.
        is_printed: Whether what is printed is all that comes of the command, so that it fails where
            that cannot be written; else the exit status is that of the run.

    Raises:
        typer.Exit: With 1 for an error; 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """
    with warnings.catch_warnings(), ended_by_signals():
        warnings.showwarning = _tell_warning
        try:
            yield
            if is_printed and (lost := why_lost(sys.stdout)) is not None:
                raise OSError(lost.errno, lost.strerror, "standard output")
        except KeyboardInterrupt as stopped:
            typer.echo(str(stopped) or "interrupted", err=True)
            raise typer.Exit(exit_status(stopped)) from None
        except typer.Exit:
            raise
        except (Exception, SystemExit) as error:
            if show_traceback:
                raise
            tell("error", "red", _sentence(error, folder))
            raise typer.Exit(FAILED) from None


def say(console: "Console", text: str) -> None:
    """Print text without markup, colours or line breaks of its own; control characters visibly."""
    console.print(visible(text, keep="\n"), markup=False, highlight=False, soft_wrap=True)


def tell(kind: str, colour: str, sentence: str) -> None:
    """Print ``kind: sentence`` as one line on the standard error stream."""
    label = typer.style(f"{kind}:", fg=colour, bold=True)
    typer.echo(f"{label} {visible(' '.join(sentence.split()))}", file=sys.stderr)


def exit_status(stopped: KeyboardInterrupt) -> int:
    """What a shell is told of a command that a signal ended."""
    return BY_SIGNAL + getattr(stopped, "signal", signal.SIGINT)


def _sentence(error: BaseException, folder: Path | None) -> str:
    return "; ".join([_what_is_wrong(error, folder), *getattr(error, "__notes__", [])])


def _what_is_wrong(error: BaseException, folder: Path | None) -> str:
    if isinstance(error, DecompError):
        return sentence(error)
    if memory.is_short(error):
        return f"{memory.told(error)} ({_place(error)})"
    if isinstance(error, OSError) and error.strerror:
        place = error.filename or folder
        return f"{place}: {error.strerror}" if place else error.strerror
    return f"{one_line(error)} ({_place(error)}); --traceback shows the whole trace"


def _place(error: BaseException) -> str:
    """Name the innermost line of the experiment file, else of the package, else of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    frame = (ours or frames)[-1]
    return place_raised(error) or f"{Path(frame.filename).name}:{frame.lineno}"


def _tell_warning(message: Warning | str, *_place: object, **_stream: object) -> None:
    tell("warning", "yellow", str(message))
