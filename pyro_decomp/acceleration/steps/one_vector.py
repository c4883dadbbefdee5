"""Parameters as parts of one vector, so that what is done to each is done to all at once."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.acceleration.capture.tracing import traced


class OneVector:
    """Several parameters in one piece of memory.

    Args:
        parameters: They keep their values and shapes, and become views of ``vector``.

    Attributes:
        vector: All of their numbers.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._shapes = [parameter.shape for parameter in parameters]
        self.vector = torch.cat([parameter.detach().flatten() for parameter in parameters])
        for parameter, piece in zip(parameters, self.pieces(self.vector), strict=True):
            parameter.data = piece
        self.vector.requires_grad_()

    def pieces(self, vector: Tensor) -> list[Tensor]:
        """Parts of a vector of this size, in the parameters' shapes."""
        parts = vector.split([shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def joined(self, module: GraphModule, inputs: Sequence[Tensor]) -> GraphModule:
        """A step that takes the vector and gives the gradient by it, from one of many parameters.

        Args:
            module: Takes the parameters first; gives values, their gradients, and more.
            inputs: What ``joined`` is to be given: the vector, and what follows the parameters.
        """
        size = len(self._shapes)

        def step(vector: Tensor, *others: Tensor) -> list[Tensor]:
            values, *rest = module(*self.pieces(vector), *others)
            gradient = torch.cat([each.flatten() for each in rest[:size]])
            return [values, gradient, *rest[size:]]

        return traced(step, inputs)
