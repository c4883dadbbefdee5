"""Figures to files."""

import io
import os
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from pyro_decomp import arguments
from pyro_decomp.plots.style import DPI, STYLE


@mpl.rc_context(STYLE)
def save(figure: Figure, path: str | os.PathLike[str], dpi: int = DPI) -> None:
    """Write a figure as PNG: wholly or not at all, and the same bytes for the same figure.

    Args:
        figure: What to write.
        path: A file name ending in ``.png`` in a folder that exists; a file of that name is
            replaced.
        dpi: Pixels per inch.

    Raises:
        ValueError: If ``path`` does not end in ``.png``.
        OSError: If the file cannot be written; what was there before stays.
    """
    arguments.annotated(save, locals(), dpi=1)
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ValueError(f"path: expected a file name ending in .png, got {target.name!r}")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi, metadata={"Software": None})
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(picture.getbuffer())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
