"""Options that several commands take, what is checked of them, and the help of a file's own."""

import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from pyro_decomp.cli.failures import told_in_one_line
from pyro_decomp.errors import DecompError
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.parameters import Parameter

FILE_KEY = "pyro_decomp.file"

ExperimentPath = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Python with a function `experiment`; FILE --help lists its parameters.",
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1, mps, ...")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")]
ShowTraceback = Annotated[bool, typer.Option("--traceback", help="Show where an error is from.")]


def check_device(name: str) -> None:
    """Refuse a device that torch cannot use here.

    Raises:
        DecompError: It cannot.
    """
    import torch  # noqa: PLC0415 (takes seconds)

    try:
        torch.zeros((), device=name).item()
    except (AssertionError, RuntimeError) as error:  # built without it; none, or one of no values
        raise DecompError(
            f"--device: expected a device that torch can use here, such as cpu, got {name!r}"
        ) from error


def names(text: str | None) -> list[str]:
    """Read names that stand between commas, as of ``--metrics NAME,...``.

    >>> names("elbo, mig")
    ['elbo', 'mig']
    """
    return [name.strip() for name in (text or "").split(",") if name.strip()]


class FileCommand(TyperCommand):
    """A command with an argument ``file``, whose help lists the parameters of the file given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the file for the help, which is answered before arguments are looked at.

        Raises:
            typer.BadParameter: A parameter of the file is given as if it were the command's.
        """
        self._check_settings(args)
        words, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[FILE_KEY] = words.get("file")
        return super().parse_args(ctx, args)

    def _check_settings(self, args: list[str]) -> None:
        """Answer ``--alpha 1``, ``--alpha=1`` and ``alpha=1`` by ``--set alpha=1``."""
        files = [Path(word) for word in args if word.endswith(".py")]
        options = {option for each in self.params for option in each.opts}
        for place, word in enumerate(args):
            name, equals, value = word.lstrip("-").replace("-", "_").partition("=")
            before = args[place - 1] if place else ""
            is_option = word.startswith("--") and word.partition("=")[0] not in options
            is_setting = equals and "-" not in word[0] and before not in options
            if not (files and (is_option or is_setting) and name.isidentifier()):
                continue
            value = word.partition("=")[2] if equals else "".join(args[place + 1 : place + 2])
            with suppress(DecompError):
                known = [each.name for each in ExperimentFile.read(files[0]).parameters]
                if name in known:
                    raise typer.BadParameter(
                        f"{word}: expected --set {name}={value or 'VALUE'}, as {name} is a "
                        f"parameter of {files[0]}"
                    )

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the usage, then the parameters of the file if there is one."""
        super().format_help(ctx, formatter)
        file = ctx.meta.get(FILE_KEY)
        if not isinstance(file, str) or Path(file).is_dir():
            return
        with told_in_one_line():
            experiment_file = ExperimentFile.read(Path(file))
        headline = experiment_file.docstring.strip().partition("\n")[0]
        rows = [_row(parameter) for parameter in experiment_file.parameters]
        with formatter.section(f"Parameters of {file}, each --set KEY=VALUE"):
            if headline:
                formatter.write_text(headline)
                formatter.write_paragraph()
            formatter.write_dl(rows or [("none", "")])


def _row(parameter: Parameter) -> tuple[str, str]:
    default = "required" if parameter.required else f"default: {_typed_text(parameter.default)}"
    return f"{parameter.name} <{parameter.type_text}>", f"{parameter.help}  [{default}]".strip()


def _typed_text(value: Any) -> str:
    """Write a value as it would be typed, and no longer than a line."""
    text = str(value).lower() if value is None or isinstance(value, bool) else str(value)
    return textwrap.shorten(text, 60, placeholder=" ...")
