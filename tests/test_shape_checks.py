"""The import hook of conftest is at work: a wrong shape in a checked module raises."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from matplotlib.figure import Figure

from pyro_decomp.plots.density import draw_prior


def test_a_wrong_shape_raises() -> None:
    axes, grid = Figure().add_subplot(), np.linspace(-1, 1, 5)
    draw_prior(axes, grid, grid, -np.add.outer(grid**2, grid**2), "white")
    with pytest.raises(TypeCheckError):
        draw_prior(axes, grid, grid, np.zeros((5, 5, 1)), "white")
