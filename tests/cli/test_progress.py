"""What is shown of sweeps before they begin."""

from pyro_decomp.cli.progress import plan_lines
from pyro_decomp.sweep import Plan
from pyro_decomp.sweep.ensemble.members import Member, WorkItem
from pyro_decomp.sweep.grid import Grid

GRID = Grid({"beta": (1.0, 2.0), "alpha": (0.0, 1.0)}, (0, 1, 2), ("alpha", "beta"))
A, B, C = (Member(name, {}, 0) for name in "abc")


def test_a_plan_is_a_line_for_each_way_and_reason() -> None:
    items = [
        WorkItem((A, B), is_batched=True, why="one program", backend="compiled"),
        WorkItem((C,), is_batched=True, why="one program", backend="compiled"),
        WorkItem((A,), is_batched=False, why="its loss branches"),
        WorkItem((B,), is_batched=False, why="its loss branches"),
        WorkItem((C,), is_batched=False, why="as was asked for"),
    ]
    assert plan_lines(Plan(GRID, 5, 1, items, 2)) == [
        "12 members: 4 combinations of arguments, 3 seeds each; 2 worker processes at most",
        "  5 done before",
        "  1 trained before, to be measured",
        "  3 together in 2 batches, compiled: one program",
        "  2 one by one: its loss branches",
        "  1 one by one: as was asked for",
    ]
