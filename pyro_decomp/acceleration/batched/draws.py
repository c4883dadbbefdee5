"""Random draws of several members, each from generators of its own, some steps at a time."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

BYTES = 2**22  # of draws that are held at once
MOST_STEPS = 64  # that are drawn for at once

Draw = Callable[..., Sequence[Tensor]]


class Draws:
    """What captured steps draw, for each of K members as if it were alone.

    A member's generator is put in the place of the global one for several steps at a time, as that
    takes longer than most draws.

    Args:
        generators: The state of each member's generator before its next step.
        given: What a draw takes, with a leading K.
    """

    def __init__(self, generators: Sequence[Tensor], given: Sequence[Tensor] = ()) -> None:
        self._given = [[tensor[member] for tensor in given] for member in range(len(generators))]
        self._ahead = list(generators)
        self._behind = list(generators)
        self._draw: Draw | None = None
        self._held: list[list[Tensor]] = []
        self._used = 0

    def next(self, draw: Draw, steps: int = 1) -> list[Tensor]:
        """The draws of the next step, with a leading K.

        ``draw`` gives one step's draws of a member from the global generator, and is the same
        for so many steps, this one included.
        """
        if draw is not self._draw or self._used == len(self._held):
            self._ahead = self.generators()
            self._fill(draw, steps)
        drawn = self._held[self._used]
        self._used += 1
        return drawn

    def generators(self) -> list[Tensor]:
        """The states of all members' generators as of the last step that was given."""
        return [self.generator(member) for member in range(len(self._ahead))]

    def generator(self, member: int, *, is_before: bool = False) -> Tensor:
        """The state of one member's, or that from before the last step that was given."""
        if self._draw is None or (self._used == len(self._held) and not is_before):
            return self._ahead[member]
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._behind[member])
            for _ in range(self._used - is_before):
                self._draw(*self._given[member])
            return torch.get_rng_state()

    def _fill(self, draw: Draw, steps: int) -> None:
        self._behind = list(self._ahead)
        self._draw, self._used = draw, 0
        drawn: list[list[Sequence[Tensor]]] = []
        with torch.random.fork_rng(devices=[]):
            for member, state in enumerate(self._ahead):
                torch.set_rng_state(state)
                of_member = [draw(*self._given[member])]
                if member == 0:
                    size = sum(t.numel() * t.element_size() for t in of_member[0])
                    at_once = BYTES // max(1, size * len(self._ahead))
                    steps = max(1, min(steps, MOST_STEPS, at_once))
                of_member += [draw(*self._given[member]) for _ in range(steps - 1)]
                drawn.append(of_member)
                self._ahead[member] = torch.get_rng_state()
        self._held = [
            [torch.stack(each) for each in zip(*step, strict=True)]
            for step in zip(*drawn, strict=True)
        ]
