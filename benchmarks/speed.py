"""How fast training is: against steps written by hand, other packages, and its own sizes.

    python benchmarks/speed.py [--quick] [--only SECTION ...] [--write FILE]

Prints tables in Markdown. A is timed against B in turns, A B A B ..., in one process; A/B is the
median of the turns' ratios, beside the least and the most. --quick sees that everything runs, with
small sizes and nothing compiled: its numbers mean nothing.
"""

import argparse
import platform
import re
from collections.abc import Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from comparisons import QUICK, Effort, Section
from comparisons.by_hand import by_hand
from comparisons.grids import grids
from comparisons.packages import packages
from comparisons.scaling import members, scaling
from comparisons.scores import scores
from comparisons.start_up import start_up
from comparisons.terms import terms
from comparisons.whole_commands import whole_commands
from timing import HEADER

SECTIONS: dict[str, tuple[str, Section]] = {
    "by-hand": ("Steps of training against steps written by hand", by_hand),
    "packages": ("Steps of training against other packages", packages),
    "members": ("Members of a sweep, trained as one computation", members),
    "grids": ("Sweeps as wholes", grids),
    "scaling": ("Steps of training of other sizes", scaling),
    "terms": ("Terms over pairs, value and gradient", terms),
    "metrics": ("Metrics", scores),
    "start-up": ("Start-up", start_up),
    "commands": ("Commands as wholes", whole_commands),
}
PACKAGES = ("torch", "pyro-ppl", "pythae", "scikit-learn")


def main(arguments: list[str] | None = None) -> None:
    """Time the sections that were asked for and print or write their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="see that everything runs")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--turns", type=int, default=Effort.turns, help="of A and B each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page to be included")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    effort = QUICK if options.quick else Effort(options.turns)
    lines = []
    for line in page(options.only, effort):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        options.write.write_text("\n".join(["---", "orphan: true", "---", "", *lines, ""]))


def page(names: list[str], effort: Effort) -> Iterator[str]:
    """The lines of the page, each as soon as it is known."""
    yield f"<!-- by benchmarks/speed.py -->\n\n{machine()}\n"
    for name in names:
        title, section = SECTIONS[name]
        yield f"**{title}**\n\n{HEADER}"
        for comparison in section(effort):
            yield comparison.row()
        yield ""


def machine() -> str:
    """When, where and with what."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    number = torch.get_num_threads()
    threads = "1 thread" if number == 1 else f"{number} threads, 1 for small batches"
    return f"{date.today()}, {processor()}, {threads}; {', '.join(found)}."


def processor() -> str:
    """Its name, as Linux or else Python tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = re.findall(r"^model name\s*: (.+)$", information.read_text(), re.M)
        if names:
            return f"{len(names)} cores of {names[0]}"
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
