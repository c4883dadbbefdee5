"""Random generators: independent streams from one seed, and the state of them all."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch

from pyro_decomp import arguments


def derive(seed: int, *path: int) -> int:
    """A 32-bit seed for one purpose, independent of those for other purposes.

    Args:
        seed: The run's seed.
        path: Numbers that name the purpose, such as a stream and an epoch.

    Example:
        >>> derive(0, 1) == derive(0, 1), derive(0, 1) == derive(0, 2)
        (True, False)
    """
    return int(np.random.SeedSequence([int(seed), *path]).generate_state(1)[0])


def random_state() -> dict[str, Any]:
    """The state of every global random generator, in types that load without unpickling."""
    state: tuple[Any, ...] = np.random.get_state(legacy=True)  # type: ignore[assignment]
    kind, keys, position, has_gauss, cached = state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what :func:`random_state` gave."""
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    random.setstate(state["python"])


def set_seed(seed: int) -> None:
    """Seed every global random generator."""
    pyro.set_rng_seed(int(seed))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every global random generator inside, and put them back after."""
    arguments.whole(0, arguments.LARGEST_SEED, seed=seed)
    before = random_state()
    set_seed(seed)
    try:
        yield
    finally:
        set_random_state(before)
