"""Lines for a person: what was done, and what went wrong with the exit status that says so."""

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
from pyro_decomp.training.user_code import place_raised, sentence

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
INTERRUPTED = 130
PACKAGE = Path(__file__).parent.parent


@contextmanager
def told_in_one_line(
    *, show_traceback: bool = False, folder: Path | None = None, less: str = ""
) -> Iterator[None]:
    """Turn errors into one line and an exit status, and warnings into one line each.

    Args:
        show_traceback: Let errors through as they are.
        folder: The run folder, named when the system does not say what it could not write.
        less: What of the command takes less memory, said where that ends.

    Raises:
        typer.Exit: With 1 for an error, 130 for Ctrl-C.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _tell_warning
        try:
            yield
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, BrokenPipeError):  # typer ends quietly when the reader has gone away
            raise
        except Exception as error:
            if show_traceback:
                raise
            tell("error", "red", _sentence(error, folder, less))
            raise typer.Exit(FAILED) from None


def say(console: "Console", text: str) -> None:
    """Print text without markup, colours or line breaks of its own; control characters visibly."""
    console.print(visible(text, keep="\n"), markup=False, highlight=False, soft_wrap=True)


def tell(kind: str, colour: str, sentence: str) -> None:
    """Print ``kind: sentence`` as one line on the standard error stream."""
    label = typer.style(f"{kind}:", fg=colour, bold=True)
    typer.echo(f"{label} {visible(' '.join(sentence.split()))}", file=sys.stderr)


def _sentence(error: Exception, folder: Path | None, less: str) -> str:
    if isinstance(error, DecompError):
        return sentence(error)
    if memory.is_short(error):
        how = f": {less} takes less" if less and not isinstance(error, ImportError) else ""
        return f"{memory.told(error)} ({_place(error)}){how}"
    if isinstance(error, OSError) and error.strerror:
        place = error.filename or folder
        return f"{place}: {error.strerror}" if place else error.strerror
    return f"{one_line(error)} ({_place(error)}); --traceback shows the whole trace"


def _place(error: Exception) -> str:
    """Name the innermost line of the experiment file, else of the package, else of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    frame = (ours or frames)[-1]
    return place_raised(error) or f"{Path(frame.filename).name}:{frame.lineno}"


def _tell_warning(message: Warning | str, *_place: object, **_stream: object) -> None:
    tell("warning", "yellow", str(message))
