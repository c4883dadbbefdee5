import math
from collections.abc import Callable
from typing import Any

import pytest

from pyro_decomp.schedules import (
    Capacity,
    Constant,
    Cosine,
    Cyclical,
    Exponential,
    Linear,
    Schedule,
)

TOTAL = 80
EVERY_STEP = range(TOTAL + 1)

# Schedule, and its value at a share of its own length.
CLOSED_FORMS: dict[str, tuple[Schedule, Callable[[float], float]]] = {
    "constant": (Constant(3.0), lambda t: 3.0),
    "linear": (Linear(1.0, 5.0), lambda t: 1 + 4 * t),
    "linear, down": (Linear(0.3, 0.1), lambda t: 0.3 - 0.2 * t),
    "cosine": (Cosine(1.0, 5.0), lambda t: 3 - 2 * math.cos(math.pi * t)),
    "exponential": (Exponential(4.0, 0.25), lambda t: 4.0 ** (1 - 2 * t)),
    "capacity": (Capacity(25.0), lambda t: 25 * t),
    "cyclical": (
        Cyclical(1.0, 5.0, cycles=4, ramp=0.5),
        lambda t: 5.0 if t == 1 else 1 + 4 * min(1.0, (t * 4 % 1) / 0.5),
    ),
}
RISING = {
    "linear": Linear(1.0, 5.0, until=0.6),
    "cosine": Cosine(1.0, 5.0, until=0.6),
    "capacity": Capacity(25.0, until=0.6),
    "in two parts": Linear(0.0, 1.0, until=20).then(Cosine(1.0, 4.0, until=0.6)),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("until", [1.0, 0.5, 0.25, 40, 16, 1])
def test_closed_forms(name: str, until: float) -> None:
    schedule, formula = CLOSED_FORMS[name]
    object.__setattr__(schedule, "until", until)
    end = until if isinstance(until, int) else until * TOTAL
    assert schedule.last_step(TOTAL) == end
    for step in EVERY_STEP:
        expected = formula(min(1.0, step / end))
        assert schedule.value(step, TOTAL) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", RISING)
def test_rising_ones_never_fall_and_stay_at_the_end(name: str) -> None:
    schedule = RISING[name]
    values = [schedule.value(step, TOTAL) for step in EVERY_STEP]
    assert values == sorted(values)
    assert values[0] < values[10] < values[40] < values[48]
    assert values[48:] == [values[48]] * len(values[48:])


@pytest.mark.parametrize("kind", [Linear, Exponential, Cosine, Cyclical])
@pytest.mark.parametrize("ends", [(0.1, 0.7), (2.0, 1e9), (0.3, 0.1)])
def test_the_ends_are_exact(kind: type[Linear], ends: tuple[float, float]) -> None:
    schedule = kind(*ends, until=7)
    assert (schedule.value(0, 20), schedule.value(7, 20), schedule.value(20, 20)) == (
        ends[0],
        ends[1],
        ends[1],
    )


def test_steps_do_not_depend_on_the_run_and_fractions_scale_with_it() -> None:
    in_steps, fraction = Linear(0.0, 1.0, until=40), Linear(0.0, 1.0, until=0.5)
    assert in_steps.value(30, 50) == in_steps.value(30, 5000) == 0.75
    assert fraction.value(30, 80) == fraction.value(300, 800) == 0.75


def test_one_step_is_not_the_whole_run() -> None:
    assert Linear(0.0, 1.0, until=1).value(1, 10) == 1.0
    assert Linear(0.0, 1.0, until=1.0).value(1, 10) == 0.1


def test_cycles_repeat_and_stay_up_for_the_rest() -> None:
    schedule = Cyclical(0.0, 1.0, until=80, cycles=4, ramp=0.25)
    values = [schedule.value(step, 100) for step in range(101)]
    for start in (20, 40, 60):
        assert values[start : start + 20] == pytest.approx(values[:20])
    assert values[:6] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(values[5:20]) == {1.0}
    assert set(values[80:]) == {1.0}


@pytest.mark.parametrize("cycles", [3, 7, 10, 29])
def test_a_cycle_begins_on_its_step(cycles: int) -> None:
    schedule = Cyclical(0.0, 1.0, until=cycles * 10, cycles=cycles)
    starts = [schedule.value(10 * cycle, 1000) for cycle in range(cycles)]
    assert starts == [0.0] * cycles


def test_one_after_another() -> None:
    schedule = Constant(2.0, until=0.25).then(Linear(2.0, 4.0, until=0.5)).then(Cosine(4.0, 0.0))
    values = [schedule.value(step, 80) for step in (0, 20, 30, 40, 60, 80)]
    assert values == pytest.approx([2.0, 2.0, 3.0, 4.0, 2.0, 0.0])
    assert schedule.last_step(80) == 80


def test_a_following_schedule_that_is_over_gives_its_end() -> None:
    schedule = Linear(0.0, 1.0, until=50).then(Linear(1.0, 3.0, until=30))
    assert [schedule.value(step, 100) for step in (50, 51)] == [1.0, 3.0]
    assert schedule.last_step(100) == 50


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Linear(0.0, 1.0, until=0), "until: expected .* got 0"),
        (lambda: Linear(0.0, 1.0, until=1.5), "until: expected .* got 1.5"),
        (lambda: Linear(0.0, 1.0, until=True), "until: expected .* got True"),
        (lambda: Linear(0.0, 1.0, until="half"), "until: expected .* got 'half'"),
        (lambda: Linear(0.0, 1.0, until=math.nan), "until: expected .* got nan"),
        (lambda: Linear(math.nan, 1.0), "start: expected a finite number, got nan"),
        (lambda: Capacity(math.inf), "maximum: expected a finite number of at least 0, got inf"),
        (lambda: Constant("one"), "value: expected a finite number, got 'one'"),
        (lambda: Cyclical(0.0, 1.0, cycles=0), "cycles: expected .* got 0"),
        (lambda: Cyclical(0.0, 1.0, cycles=2.5), "cycles: expected .* got 2.5"),
        (lambda: Cyclical(0.0, 1.0, ramp=0.0), r"ramp: expected a number in \(0, 1\], got 0.0"),
    ],
)
def test_what_is_refused(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()
