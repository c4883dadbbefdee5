"""How long the package takes to be there."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from timing import Comparison, in_turns

from comparisons import Effort

EMPTY = "python -c pass"
COMMANDS = {
    EMPTY: ["-c", "pass"],
    "pyro-decomp --help": ["-m", "pyro_decomp", "--help"],
    "import pyro_decomp": ["-c", "import pyro_decomp"],
    "import torch": ["-c", "import torch"],
    "pyro_decomp.train": ["-c", "from pyro_decomp import train"],
}


def start_up(effort: Effort) -> Iterator[Comparison]:
    """The command line and an import against an empty Python; all of training against torch."""
    run = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL)
    commands = {name: [sys.executable, *arguments] for name, arguments in COMMANDS.items()}
    names = list(COMMANDS)[:3] if effort.is_quick else list(COMMANDS)
    actions = {name: partial(run, commands[name]) for name in names}
    seconds = in_turns(actions, min(effort.turns, 7))
    for name in names[1:3]:
        yield Comparison("start-up", name, EMPTY, seconds[name], seconds[EMPTY])
    if not effort.is_quick:
        torch, train = seconds["import torch"], seconds["pyro_decomp.train"]
        yield Comparison("start-up", "from pyro_decomp import train", "import torch", train, torch)
