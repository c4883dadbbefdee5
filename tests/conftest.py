"""What every test starts from; shape annotations are checked in tests alone."""

import os
import sys
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, a process a core

import matplotlib as mpl
import pyro
import pytest
import torch
from jaxtyping import install_import_hook

from tests import checking

mpl.use("Agg")

# Each call of these modules checks its jaxtyping annotations, which needs the hook to come first.
CHECKED = ["pyro_decomp.aggregate_posterior", "pyro_decomp.divergences", "pyro_decomp.plots"]
assert not sys.modules.keys() & set(CHECKED), "imported before the hook: shapes go unchecked"
install_import_hook(CHECKED, f"{checking.__name__}.checked")


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    """One seed, no parameters of another test, and torch's defaults given back.

    The number of threads is the environment's: it can change the last bits of a sum, and tests
    compare what they train with what the command line trains in a process of its own.
    """
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
