"""Independent random streams from one seed."""

import numpy as np


def derive(seed: int, *path: int) -> int:
    """A 32-bit seed for one purpose, independent of those for other purposes.

    Args:
        seed: The run's seed.
        path: Numbers that name the purpose, such as a stream and an epoch.

    Example:
        >>> derive(0, 1) == derive(0, 1), derive(0, 1) == derive(0, 2)
        (True, False)
    """
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])
