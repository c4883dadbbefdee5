"""What is shown of sweeps before they begin."""

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_decomp.sweep import Plan


def plan_lines(plan: "Plan") -> list[str]:
    """The plan of a sweep: a line for all members, then one for each way in which they train."""
    grid = plan.grid
    total = grid.num_combinations * len(grid.seeds)
    lines = [
        f"{_count(total, 'member')}: {_count(grid.num_combinations, 'combination')} of arguments, "
        f"{_count(len(grid.seeds), 'seed')} each; {_count(plan.num_workers, 'worker process')} "
        "at most"
    ]
    if plan.num_done:
        lines.append(f"  {plan.num_done} done before")
    if plan.num_to_measure:
        lines.append(f"  {plan.num_to_measure} trained before, to be measured")
    members: Counter[tuple[bool, str, str]] = Counter()
    items: Counter[tuple[bool, str, str]] = Counter()
    for item in plan.items:
        key = (item.is_batched, item.backend, item.why)
        members[key] += len(item.members)
        items[key] += 1
    for key, count in members.items():
        is_batched, backend, why = key
        way = f"together in {_count(items[key], 'batch')}" if is_batched else "one by one"
        lines.append(f"  {count} {way}{f', {backend}' if is_batched else ''}: {why}")
    return lines


def _count(number: int, word: str) -> str:
    """Write a number of things.

    >>> _count(1, "batch"), _count(2, "batch"), _count(3, "seed")
    ('1 batch', '2 batches', '3 seeds')
    """
    ending = "" if number == 1 else "es" if word.endswith(("s", "ch")) else "s"
    return f"{number} {word}{ending}"
