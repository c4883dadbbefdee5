"""The command line: words in, words out. What a run is made of is the experiment file's to say."""

from collections.abc import Sequence

from pyro_decomp.cli.commands import app


def main(words: Sequence[str] | None = None) -> None:
    """Run ``pyro-decomp``.

    Args:
        words: What follows the name of the program; those of this process by default.

    Raises:
        SystemExit: Always: 0 done, 1 an error, 2 words that make no command, 130 interrupted.
    """
    app(args=words, prog_name="pyro-decomp")
