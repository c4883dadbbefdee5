"""Options that several commands take, what is checked of them, and the help of a file's own."""

import textwrap
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
        self._check_settings(ctx, args)
        words, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[FILE_KEY] = words.get("file")
        return super().parse_args(ctx, args)

    def _check_settings(self, ctx: Any, args: list[str]) -> None:
        """Answer ``--alpha 1``, ``--alpha=1`` and ``alpha=1`` by ``--set alpha=1``."""
        known = {*ctx.help_option_names, *(name for each in self.params for name in each.opts)}
        file = next((word for word in args if word.endswith(".py")), None)
        for before, word, after in zip(["", *args], args, [*args[1:], ""], strict=False):
            option, equals, value = word.partition("=")
            is_setting = equals and not word.startswith("-") and before not in known
            if file is None or option in known or not (option.startswith("--") or is_setting):
                continue
            name = option.lstrip("-").replace("-", "_")
            if name in _parameter_names(file):
                raise typer.BadParameter(
                    f"{word}: expected --set {name}={(value if equals else after) or 'VALUE'}, as "
                    f"{name} is a parameter of {file}"
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


def _parameter_names(file: str) -> list[str]:
    """The parameters of a file; none where it cannot be read, which is said later."""
    try:
        return [parameter.name for parameter in ExperimentFile.read(file).parameters]
    except DecompError:
        return []


def _row(parameter: Parameter) -> tuple[str, str]:
    default = "required" if parameter.required else f"default: {_typed_text(parameter.default)}"
    return f"{parameter.name} <{parameter.type_text}>", f"{parameter.help}  [{default}]".strip()


def _typed_text(value: Any) -> str:
    """Write a value as it would be typed, and no longer than a line."""
    text = str(value).lower() if value is None or isinstance(value, bool) else str(value)
    return textwrap.shorten(text, 60, placeholder=" ...")
