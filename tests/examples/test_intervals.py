"""Means with intervals, as the tables of the examples write them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from scipy import stats

PATH = Path(__file__).parents[2] / "examples" / "intervals.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("intervals", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_mean_is_written_to_the_digits_that_it_has(script: ModuleType) -> None:
    # t = 2.776 with 4 degrees, standard deviation 1.5811, so 2.776 * 1.5811 / sqrt(5)
    assert script.mean_with_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == "3.0 ± 2.0"
    assert script.mean_with_interval([0.5, 0.5]) == "0.500 ± 0.000"
    assert script.mean_with_interval([2.0]) == "2"


def test_the_interval_is_scipys(script: ModuleType) -> None:
    values = [0.3, 1.2, -0.4, 0.9]
    interval = stats.t.interval(0.95, 3, loc=0.5, scale=stats.sem(values))
    assert script.half_width_of_interval(values) == pytest.approx(interval[1] - 0.5)
