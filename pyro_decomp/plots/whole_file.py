"""A file that is there wholly or not at all."""

import os
from pathlib import Path


def write_whole(target: Path, content: bytes | memoryview) -> None:
    """Write a file beside its place and move it there: what was there stays if writing fails."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
