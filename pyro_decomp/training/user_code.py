"""Running code of the user's: its neighbours importable, what it raises named by file and line."""

import inspect
import itertools
import linecache
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyro_decomp.errors import (
    ArgumentError,
    DecompError,
    ExperimentError,
    OutOfMemoryError,
    memory,
    one_line,
)

MODULE_PREFIX = "_experiment_"
_executions = itertools.count()


def execute(
    source: str,
    path: Path,
    seed: int | None = None,
    *,
    names: Mapping[str, Any] | None = None,
    folders: Sequence[Path] = (),
) -> types.ModuleType:
    """Run the text of a module, under a name of its own so that its classes can be pickled.

    Args:
        source: The text.
        path: Where it is from.
        seed: Sets every random generator first; None leaves them alone.
        names: What is defined before it runs.
        folders: What it imports from, beside the folder of the path.

    Raises:
        ExperimentError: The text is not Python, or it raises.
    """
    filename = str(path.absolute())
    try:
        code = compile(source, filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        reason = getattr(error, "msg", error)
        raise ExperimentError(f"{path}:{line}: expected Python, got {reason}") from error
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = types.ModuleType(f"{MODULE_PREFIX}{next(_executions)}_{path.stem}")
    module.__file__ = filename
    vars(module).update(names or {})
    sys.modules[module.__name__] = module
    if seed is not None:
        import pyro  # noqa: PLC0415 (torch takes seconds)

        pyro.set_rng_seed(seed)
    try:
        with running("the file", path, folders):
            exec(code, module.__dict__)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


@contextmanager
def running(what: str, path: Path, folders: Sequence[Path] = ()) -> Iterator[None]:
    """Let a file's neighbours be imported, and say where in the file something was raised.

    Raises:
        ExperimentError: What runs raised anything but an error that says all, which is passed on.
        OutOfMemoryError: It takes more memory than is free.
    """
    added = [str(folder) for folder in (path.absolute().parent, *folders)]
    sys.path[:0] = added
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if says_all(error):
            raise
        place = place_raised(error) or path
        if memory.is_short(error):
            raise OutOfMemoryError(f"{place}: {memory.told(error)}") from error
        raise ExperimentError(f"{place}: {what} raised {one_line(error)}") from error
    finally:
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)


@contextmanager
def memory_counted(less: str = "a smaller batch_size, or less data,") -> Iterator[None]:
    """Tell that memory ended as such, whether Python, numpy, torch or C says so.

    Args:
        less: What takes less memory.

    Raises:
        OutOfMemoryError: It ended inside, and no error of ours says so yet.
    """
    try:
        yield
    except DecompError:
        raise
    except Exception as error:
        if not memory.is_short(error):
            raise
        place = f" ({place})" if (place := place_raised(error)) else ""
        how = "" if isinstance(error, ImportError) else f": {less} takes less"
        ended = OutOfMemoryError(f"{memory.told(error)}{place}{how}")
        for note in getattr(error, "__notes__", ()):
            ended.add_note(note)
        raise ended from error


def place_raised(error: BaseException) -> str | None:
    """Name the innermost line of an experiment file through which an error passed, if it did."""
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").startswith(MODULE_PREFIX):
            path = Path(frame.f_code.co_filename)
            is_below = path.is_relative_to(Path.cwd())
            place = f"{path.relative_to(Path.cwd()) if is_below else path}:{line}"
    return place


def says_all(error: BaseException) -> bool:
    """Whether an error's message is enough to mend it.

    That of an argument does not say whose it is, where a program or callback gave it.
    """
    return isinstance(error, DecompError) and not isinstance(error, ArgumentError)


def sentence(error: BaseException) -> str:
    """The message of an error; its line where that does not say all, and a stranger's type."""
    is_own = isinstance(error, DecompError)
    message = " ".join(str(error).split()) if is_own else one_line(error)
    place = None if says_all(error) else place_raised(error)
    return f"{message} ({place})" if place else message


def place_of(function: Callable[..., Any], path: Path) -> str:
    """Name a file and, where it can be told, the line at which a function of it begins."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{path}:{code.co_firstlineno}" if code else f"{path}"
