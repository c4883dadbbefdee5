"""Training steps written by hand in PyTorch alone, as fast as we could make them.

What the trainer's steps are measured against: the same mathematics, networks and optimiser as the
experiments, without Pyro. Each has ``step()``, and ``loss`` as a function of its noise, which the
tests hold against the package's objectives. ``load`` takes the parameters of the package's ``VAE``.
"""

from hand_written.fashion_mnist import FashionMNIST
from hand_written.pinwheel import Pinwheel
from hand_written.sprites import Sprites

__all__ = ["FashionMNIST", "Pinwheel", "Sprites"]
