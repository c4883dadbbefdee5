import pyro
import pytest
import torch
from torch import Tensor

from pyro_decomp import AggregateELBO
from pyro_decomp.divergences.auxiliary import guide_codes
from tests.example_programs import PROGRAMS


@pytest.mark.full(but=["VAE", "nested plates", "two sites"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_codes_of_the_guide_alone_are_those_of_the_traces(name: str) -> None:
    programs = PROGRAMS[name]()

    def model(x: Tensor) -> None:
        assert not alone, "guide_codes ran the model"
        programs.model(x)

    alone = False
    pyro.set_rng_seed(1)
    expected = next(AggregateELBO().trace_pairs(model, programs.guide, programs.x)).codes()
    alone = True
    pyro.set_rng_seed(1)
    codes = guide_codes(programs.guide, programs.x)
    torch.testing.assert_close(codes, expected.detach(), rtol=0, atol=0)
    assert not codes.requires_grad
