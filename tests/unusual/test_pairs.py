"""Objectives and optimisers with unusual programs: a selection that covers each with several."""

from typing import Any

import pytest

from pyro_decomp.aggregate_posterior.native import library
from tests.refusals import result_or_refusal
from tests.unusual.comparison import SEEDS, assert_same, eager, together, trained
from tests.unusual.objectives import OBJECTIVES
from tests.unusual.optimizers import OPTIMIZERS
from tests.unusual.programs import PROGRAMS
from tests.unusual.test_programs import OF_PROGRAMS, REFUSED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(library.why_not()), reason="no C compiler"),
]
FUSED = [name for name in PROGRAMS if name not in REFUSED["fused"] and name != "von Mises guide"]
SHIFTS = 1, 20  # each objective with so many of these programs apart, of different kinds


def covering(others: dict[str, Any]) -> list[tuple[str, str]]:
    """Every other row with two programs, and programs in turn."""
    return [
        (FUSED[(place * 2 + shift) % len(FUSED)], name)
        for place, name in enumerate(others)
        for shift in SHIFTS
    ]


@pytest.mark.parametrize(("program", "objective"), covering(OBJECTIVES))
def test_objectives_of_programs_are_the_same_by_captured_and_fused_steps(
    program: str, objective: str
) -> None:
    arguments = {"program": program, "objective": objective}
    wanted, refusal = result_or_refusal(lambda: eager(arguments))
    if wanted is None:  # such as a divergence of densities of a guide that has none
        assert result_or_refusal(lambda: trained(arguments, "captured"))[1] == refusal
        return
    for steps in ("captured", "fused"):
        found, refusal = result_or_refusal(lambda steps=steps: trained(arguments, steps))
        if found is None:
            assert "it cannot be fused" in refusal or "depends on parameters" in refusal, refusal
        else:
            assert_same(found, wanted, OF_PROGRAMS.get(program, 1e-10))


@pytest.mark.parametrize(("program", "optimizer"), covering(OPTIMIZERS))
def test_optimisers_of_programs_are_the_same_alone_and_together(
    program: str, optimizer: str
) -> None:
    arguments = {"program": program, "optimizer": optimizer, "clip": 0.5}
    way = "captured" if program in REFUSED["members, fused"] else "fused"
    assert_same(trained(arguments, way), eager(arguments), 1e-10)
    for result, seed in zip(together(arguments, way), SEEDS, strict=True):
        assert_same(result, eager(arguments, seed), 1e-10)


@pytest.mark.parametrize("schedules", ["ramps", "late"])
@pytest.mark.parametrize("batch_size", [0, 16])
def test_schedules_of_numbers_are_followed(schedules: str, batch_size: int) -> None:
    arguments: dict[str, Any] = {
        "objective": "inclusive KL",
        "schedules": schedules,
        "batch_size": batch_size,
    }
    arguments["epochs"] = 12 if batch_size else 48
    wanted = eager(arguments)
    for steps in ("captured", "fused"):
        assert_same(trained(arguments, steps), wanted, 1e-10)
    for result, seed in zip(together(arguments, "fused"), SEEDS, strict=True):
        assert_same(result, eager(arguments, seed), 1e-10)


FEW = ["usual", "chain", "Student guide", "batch norm", "enumerated mixture"]


@pytest.mark.parametrize("program", FEW)
def test_torchs_compiler_gives_what_the_programs_give(program: str) -> None:
    arguments = {"program": program, "batch_size": 0, "epochs": 48}
    tolerance = OF_PROGRAMS.get(program, 1e-10)
    assert_same(trained(arguments, "compiled"), eager(arguments), tolerance)


@pytest.mark.parametrize("program", FUSED[::3])
def test_in_32_bits_with_the_flags_that_ship(program: str) -> None:
    """Fused steps are compiled here as they are for users; rounding grows over 48 steps."""
    arguments = {"program": program, "double": False}
    assert_same(trained(arguments, "fused"), eager(arguments), 2e-4)
