"""A function as a text that makes it again: its definition, and what it reaches."""

from pyro_decomp.training.recorded.source_text import UnrecordedError, source_text

__all__ = ["UnrecordedError", "source_text"]
