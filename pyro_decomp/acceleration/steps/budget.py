"""How much time audits may take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

SHARE, LEAST = 0.02, 0.02  # of the run's time, and seconds, that audits may take: the larger


class Budget:
    """The time that audits take, and at which steps there is some left for another."""

    def __init__(self) -> None:
        self._began, self._spent = time.monotonic(), 0.0

    def begin(self) -> None:
        """Count the run's time from now on."""
        self._began = time.monotonic()

    @contextmanager
    def spending(self) -> Iterator[None]:
        """What is done within it is part of an audit."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent += time.monotonic() - began

    def allows(self, step: int) -> bool:
        """Whether a step is one of 2, 4, 8, ... and audits have taken less than they may."""
        is_power = step > 1 and step & (step - 1) == 0
        return is_power and self._spent < max(LEAST, SHARE * (time.monotonic() - self._began))
