"""Options that several commands take, and what is checked of them."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_decomp.errors import DecompError

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
    """Read ``NAME,...``.

    >>> names("elbo, mig")
    ['elbo', 'mig']
    """
    return [name.strip() for name in (text or "").split(",") if name.strip()]
