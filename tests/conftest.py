"""What every test starts from; shape annotations are checked in tests alone."""

import os
import sys
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, a process a core
os.environ["MPLBACKEND"] = "Agg"

import pytest
from jaxtyping import install_import_hook

from tests import checking
from tests.tiers import TIERS, idle_patterns, tier_of

# Each call of these modules checks its jaxtyping annotations, which needs the hook to come first.
CHECKED = ["pyro_decomp.aggregate_posterior", "pyro_decomp.divergences", "pyro_decomp.plots"]
assert not sys.modules.keys() & set(CHECKED), "imported before the hook: shapes go unchecked"
install_import_hook(CHECKED, f"{checking.__name__}.checked")


def pytest_configure(config: pytest.Config) -> None:
    """Plain `pytest` runs the fast tests; one that is named (`file.py::test`) runs anyway."""
    if not config.option.markexpr and not _names_a_test(config):
        config.option.markexpr = "fast"


def _names_a_test(config: pytest.Config) -> bool:
    return any("::" in argument for argument in config.args)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each test gets the mark of its tier, and `-m TIER` leaves out those of another."""
    if not _names_a_test(config) and (idle := idle_patterns(items)):
        raise pytest.UsageError(f"marks leave rows fast that there are none of: {sorted(idle)}")
    tiers = {item: tier_of(item) for item in items}
    for item, tier in tiers.items():
        item.add_marker(tier)
    if config.option.markexpr in TIERS:
        others = [item for item in items if tiers[item] != config.option.markexpr]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if tiers[item] == config.option.markexpr]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how to run what was left out."""
    if config.option.markexpr == "fast":
        terminalreporter.line(
            "These were the fast tests. The rest: `pytest -m full`, minutes; "
            "`pytest -m slow`, twenty minutes or more; `.ci/run`, all of it."
        )


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    """One seed, no parameters of another test, and torch's defaults given back.

    The number of threads is the environment's: it can change the last bits of a sum, and tests
    compare what they train with what the command line trains in a process of its own.
    """
    import pyro  # here: the process that only hands out the tests starts without
    import torch

    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
