"""An experiment file: Python whose ``experiment`` has the configuration as its signature.

A function that builds an experiment becomes one too: `ExperimentFile.of_function`.
"""

import difflib
import hashlib
import inspect
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pyro_decomp.arguments import plain
from pyro_decomp.errors import ExperimentError, RunError
from pyro_decomp.training.parameters import (
    SUPPORTED,
    Parameter,
    UnsupportedAnnotationError,
    conform,
    parse,
    read_signature,
)
from pyro_decomp.training.recorded.kept import ENTRY, EXPERIMENT, FILE_NAME, NAME, KeptTensors
from pyro_decomp.training.run_files.trust import check_source
from pyro_decomp.training.user_code import execute, place_of, running

if TYPE_CHECKING:
    from pyro_decomp.training.experiment import Experiment


@dataclass(frozen=True, repr=False)
class ExperimentFile:
    """An experiment file, run once, whose ``experiment`` has not been called yet.

    Make one with `read`, `from_source` or `of_function`.

    Args:
        path: Where the file is, or was; of a function, the folder that it was in and its name.
        source: Its text.
        function: Its ``experiment``.
        parameters: The parameters of ``experiment`` in order.
        docstring: The docstring of the file; empty where it has none.
        seed: By which every random generator was set before the text ran; None if none was.
        tensors: What the text of a function uses of tensors and arrays.
        folders: What the text of a function imports from, beside the folder of the path.
    """

    path: Path
    source: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    docstring: str
    seed: int | None = None
    tensors: KeptTensors | None = None
    folders: tuple[Path, ...] = ()
    _built: list[None] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _OF_THIS_PROCESS.add(_identity(self.record()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @classmethod
    def read(cls, path: str | Path, *, seed: int | None = None) -> Self:
        """Read an experiment file from disk and run it; see `from_source`.

        Raises:
            ExperimentError: The file cannot be read, run or used.
        """
        path = Path(path)
        if path.is_dir():
            raise ExperimentError(f"{path}: expected a Python file, got a folder")
        if path.suffix != ".py":
            raise ExperimentError(f"{path}: expected a Python file whose name ends in .py")
        if not path.exists():
            raise ExperimentError(f"{path}: expected a Python file, found no such file")
        if not path.is_file():
            raise ExperimentError(f"{path}: expected a Python file, got a pipe, socket or device")
        try:
            with tokenize.open(path) as file:
                source = file.read()
        except (SyntaxError, UnicodeDecodeError) as error:
            raise ExperimentError(f"{path}: expected Python in UTF-8, got {error}") from error
        except OSError as error:
            raise ExperimentError(f"{path}: cannot be read: {error.strerror}") from error
        return cls.from_source(source, path, seed=seed)

    @classmethod
    def from_source(
        cls,
        source: str,
        path: str | Path,
        *,
        seed: int | None = None,
        tensors: KeptTensors | None = None,
        folders: Sequence[str | Path] = (),
    ) -> Self:
        """Run the text of an experiment file, such as the one a run keeps.

        Args:
            source: The text.
            path: Where the text is from; its folder can be imported from while it runs.
            seed: Sets every random generator before the text runs, for what it draws at its top
                level; None leaves them alone.
            tensors: What it uses of tensors, if it is the text of a function.
            folders: More folders that can be imported from.

        Raises:
            ExperimentError: The text is not Python, raises, or has no usable ``experiment``.
            RunError: The tensors cannot be read.
        """
        path, more = Path(path), tuple(map(Path, folders))
        names = {} if tensors is None else tensors.names()
        module = execute(source, path, seed, names=names, folders=more)
        function = getattr(module, ENTRY, getattr(module, EXPERIMENT, None))
        if function is None:
            raise ExperimentError(
                f"{path}: expected a function `experiment` that returns an Experiment, found none"
            )
        if not callable(function):
            raise ExperimentError(
                f"{path}: expected `experiment` to be a function, got {type(function).__name__}"
            )
        parameters = read_signature(function, place_of(function, path))
        docstring = module.__doc__ or ""
        return cls(path, source, function, parameters, docstring, seed, tensors, more)

    @classmethod
    def of_function(cls, function: Callable[..., Any]) -> Self:
        """Write down a function that builds an experiment, with all that it uses.

        Its ``function`` is the one given; `fresh` makes another from the text. Functions, classes
        and values of its file or notebook are written as they are now, those of other modules are
        imported, and nothing else of its file is run again.

        Raises:
            ExperimentError: It uses what no text can make again, such as a network or an open file;
                or its signature cannot be read.
        """
        from pyro_decomp.training.recorded.definitions import UnrecordedError  # noqa: PLC0415
        from pyro_decomp.training.recorded.source_text import source_text  # noqa: PLC0415 (torch)

        name = getattr(function, "__name__", type(function).__name__)
        try:
            written = source_text(function)
        except UnrecordedError as error:
            raise ExperimentError(
                f"{name}: expected functions, classes, modules and values that a run can keep, got "
                f"{error} ({error.remedy})"
            ) from error
        path = written.folder / f"<{name}>"
        tensors = KeptTensors(written.tensors) if written.tensors else None
        parameters = read_signature(function, place_of(function, path))
        return cls(
            path, written.text, function, parameters, inspect.getdoc(function) or "",
            tensors=tensors, folders=written.folders,
        )  # fmt: skip

    @classmethod
    def from_record(
        cls,
        record: Mapping[str, Any],
        folder: Path,
        *,
        seed: int | None = None,
        trust: bool = False,
    ) -> Self | None:
        """Run the text that a run or sweep keeps; None if it keeps none.

        What this process has run before, from the same place, it may run again.

        Args:
            record: The contents of ``config.json``.
            folder: The run folder.
            seed: See `from_source`.
            trust: Whether the text is run whoever could have written it.

        Raises:
            ExperimentError: The text no longer runs.
            RunError: It is not the text whose digest is on record, or a stranger's; or the tensors
                cannot be read.
        """
        if record.get("source") is None:
            return None
        check_source(folder, record, trust=trust or _identity(record) in _OF_THIS_PROCESS)
        tensors = KeptTensors.beside(folder)
        if tensors is None and is_function(record["source_file"]) and NAME in record["source"]:
            raise RunError(
                f"{folder / FILE_NAME}: expected the tensors that the run's source uses, found no "
                "such file (restore it, or give load(path, experiment=...))"
            )
        return cls.from_source(
            record["source"],
            record["source_file"],
            seed=seed,
            tensors=tensors,
            folders=record.get("source_folders", ()),
        )

    @property
    def is_function(self) -> bool:
        """Whether it is the text of a function rather than a file."""
        return is_function(self.path)

    def record(self) -> dict[str, Any]:
        """What a run or sweep keeps of it, in JSON's types, beside its tensors."""
        found = {
            "source_file": str(self.path.resolve()),
            "source_sha256": self.sha256,
            "source": self.source,
        }
        folders = {"source_folders": list(map(str, self.folders))} if self.folders else {}
        return found | folders

    def fresh(self, seed: int) -> Self:
        """The file as it is after its text ran with a seed, before anything was built from it."""
        if self.seed == seed and not self._built:
            return self
        return self.from_source(
            self.source, self.path, seed=seed, tensors=self.tensors, folders=self.folders
        )

    @property
    def sha256(self) -> str:
        """SHA-256 of the text in UTF-8, in hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def parse(self, settings: Sequence[str]) -> dict[str, Any]:
        """Read ``key=value`` settings as the annotations of ``experiment`` say.

        Args:
            settings: ``key=value`` each. Of Optional, ``none`` gives None; lists and tuples are
                JSON or Python literals.

        Returns:
            The arguments that were given, and no others.

        Raises:
            ExperimentError: A key is unknown or given twice, or a value is not of its type.
        """
        arguments: dict[str, Any] = {}
        for setting in settings:
            key, equals, text = setting.partition("=")
            key = key.strip()
            if not equals or not key:
                raise ExperimentError(f"--set: expected key=value, got {setting!r}")
            if key in arguments:
                raise ExperimentError(f"--set {key}: expected one value, got a second, {text!r}")
            arguments[key] = self._typed(parse, key, text)
        return arguments

    def build(self, arguments: Mapping[str, Any]) -> "Experiment":
        """Call ``experiment``.

        Args:
            arguments: Arguments by name, as from `parse` or from its record in JSON.

        Raises:
            ExperimentError: An argument is unknown, missing or ill-typed, or ``experiment`` raises
                or returns something else. A `DecompError` that it raises is passed on.
        """
        from pyro_decomp.training.experiment import Experiment  # noqa: PLC0415 (torch takes seconds)

        typed = self.typed(arguments)
        for parameter in self.parameters:
            if parameter.required and parameter.name not in typed:
                raise ExperimentError(
                    f"{self.path}: expected a value for `{parameter.name}` "
                    f"({parameter.type_text}), got none; give --set {parameter.name}=..."
                )
        self._built.append(None)
        with running("`experiment`", self.path, self.folders):
            experiment = self.function(**typed)
        if not isinstance(experiment, Experiment):
            raise ExperimentError(
                f"{place_of(self.function, self.path)}: expected `experiment` to return an "
                f"Experiment, got {type(experiment).__name__}"
            )
        return experiment

    def typed(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as ``experiment`` is called with them, from their record or from Python.

        Raises:
            ExperimentError: One is unknown or not of its annotated type.
        """
        return {name: self._typed(conform, name, value) for name, value in arguments.items()}

    def _typed(self, read: Callable[[Any, Any], Any], name: str, value: Any) -> Any:
        """Read one value as its annotation says; ``conform`` passes over types it does not know."""
        by_name = {parameter.name: parameter for parameter in self.parameters}
        if name not in by_name:
            name = str(name)
            nearest = difflib.get_close_matches(name, by_name, n=1)
            hint = f" (did you mean `{nearest[0]}`?)" if nearest else ""
            raise ExperimentError(
                f"{self.path}: `experiment` has no parameter `{name}`{hint}; "
                f"it has {', '.join(by_name) or 'none'}"
            )
        parameter = by_name[name]
        try:
            return read(value, parameter.annotation)
        except UnsupportedAnnotationError as error:
            if read is conform:
                return plain(value)
            raise ExperimentError(
                f"{self.path}: `{name}` cannot be set in words: expected an annotation of "
                f"{SUPPORTED}, got {parameter.type_text}"
            ) from error
        except ValueError as error:
            if read is conform and not parameter.is_annotated:
                return plain(value)
            raise ExperimentError(
                f"{self.path}: `{name}`: expected {parameter.type_text}, got {value!r}"
            ) from error


def _identity(record: Mapping[str, Any]) -> tuple[str, ...]:
    """A text with the folders that it imports from."""
    return (record["source"], record["source_file"], *record.get("source_folders", ()))


_OF_THIS_PROCESS: set[tuple[str, ...]] = set()


def is_function(path: str | Path) -> bool:
    """Whether the path of a source is that of a function, ``folder/<name>``."""
    return Path(path).name.startswith("<")
