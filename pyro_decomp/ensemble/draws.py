"""Random draws of several members, each from generators of its own, some steps at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule

BYTES = 2**22  # of draws that are held at once


class Draws:
    """What a captured step's ``draw`` gives, for each of K members as if it were alone.

    Args:
        draw: Gives one step's draws from the global generator.
        generators: The state of each member's generator before its next step.

    Attributes:
        draw: The same.
    """

    def __init__(self, draw: GraphModule, generators: Sequence[Tensor]) -> None:
        self.draw = draw
        self._ahead = list(generators)
        self._behind = list(generators)
        self._held: list[list[Tensor]] = []
        self._used = 0
        self._at_once = 1

    def next(self) -> list[Tensor]:
        """The draws of the next step, with a leading K."""
        if self._used == len(self._held):
            self._fill()
        drawn = self._held[self._used]
        self._used += 1
        return drawn

    def generators(self) -> list[Tensor]:
        """The states of all members' generators as of the last step that was given."""
        return [self.generator(member) for member in range(len(self._ahead))]

    def generator(self, member: int) -> Tensor:
        """The state of one member's."""
        if self._used == len(self._held):
            return self._ahead[member]
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._behind[member])
            for _ in range(self._used):
                self.draw()
            return torch.get_rng_state()

    def _fill(self) -> None:
        self._behind = list(self._ahead)
        steps: list[list[list[Tensor]]] = [[] for _ in range(self._at_once)]
        with torch.random.fork_rng(devices=[]):
            for member, state in enumerate(self._ahead):
                torch.set_rng_state(state)
                for step in steps:
                    step.append(list(self.draw()))
                self._ahead[member] = torch.get_rng_state()
        self._held = [[torch.stack(each) for each in zip(*step, strict=True)] for step in steps]
        self._used = 0
        bytes_a_step = sum(t.numel() * t.element_size() for t in self._held[0])
        self._at_once = max(1, min(64, BYTES // max(1, bytes_a_step)))
