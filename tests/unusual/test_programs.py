"""Unusual programs by every way of computing steps, held against eager steps for 48 steps."""

from collections.abc import Callable
from typing import Any

import pytest

from pyro_decomp.acceleration.capture import CaptureError
from pyro_decomp.acceleration.fusion import FusionError
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.errors import ExperimentError, ModelError
from tests.unusual.comparison import SEEDS, Result, assert_same, eager, together, trained
from tests.unusual.programs import PROGRAMS

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(library.why_not()), reason="no C compiler"),
]

WAYS: dict[str, Callable[[dict[str, Any]], list[Result]]] = {
    "captured": lambda arguments: [trained(arguments, "captured")],
    "fused": lambda arguments: [trained(arguments, "fused")],
    "members, captured": lambda arguments: together(arguments, "captured"),
    "members, fused": lambda arguments: together(arguments, "fused"),
}
OFTEN: dict[str, tuple[str, ...]] = {  # the slow tests have all programs and ways
    "usual": ("captured", "fused", "members, captured"),
    "chain": ("fused",),
    "nested plates": ("captured",),
    "masked columns": ("captured",),
    "dropout": ("members, fused",),
    "enumerated mixture": ("captured",),
    "batch norm": ("captured",),
    "slow copy": ("captured",),
    "full-covariance guide": ("captured",),
}
TOLERANCES = {"captured": 1e-14}  # the others round otherwise: 1e-11
OF_PROGRAMS = {  # a bias that batch statistics cancel has a gradient of rounding, which Adam scales
    "convolutions": 1e-6,
}
DRAWS, VALUES, NOT_C = "depends on parameters", "values of tensors decide", "is not written as C"
VMAP = "torch.func.vmap does not allow it"
NEVER_CAPTURED = {
    "Gamma guide": DRAWS,
    "Beta guide": DRAWS,
    "Dirichlet guide": DRAWS,
    "Kumaraswamy guide": VALUES,
    "spherical guide": VALUES,
    "attention": DRAWS,
}
NEVER_FUSED = {
    **NEVER_CAPTURED,
    "full-covariance guide": NOT_C,
    "low-rank guide": NOT_C,
    "selected rows": NOT_C,
    "enumerated mixture": NOT_C,
    "enumerated guide": NOT_C,
    "constrained matrices": NOT_C,
    "batch norm": NOT_C,
    "activations": NOT_C,
    "normed weights": NOT_C,
    "sorted latents": NOT_C,
    "recurrent": NOT_C,
    "embedding": NOT_C,
    "convolutions": NOT_C,
    "straight through": NOT_C,
    "categorical likelihood": NOT_C,
    "Poisson likelihood": NOT_C,  # of rounded data
    "zero-inflated Poisson likelihood": NOT_C,
    "negative binomial likelihood": NOT_C,
    "Binomial likelihood": NOT_C,
    "SoftLaplace likelihood": NOT_C,
    "continuous Bernoulli likelihood": "of torch.bool beside torch.float64",
    "Beta likelihood": NOT_C,
    "Gamma likelihood": NOT_C,
}
NOT_ALL = "the objective does not depend on all parameters"
REFUSED: dict[str, dict[str, str]] = {
    "captured": NEVER_CAPTURED,
    "fused": NEVER_FUSED,
    "members, captured": {**NEVER_CAPTURED, "low-rank guide": VMAP, "enumerated guide": VMAP},
    "members, fused": {
        **NEVER_FUSED,
        "tied weights": NOT_ALL,
        "recurrent": NOT_ALL,
        "convolutions": NOT_ALL,
    },
}
NO_GRADIENT = "von Mises guide"  # scored by no way of computing steps


def each() -> list[Any]:
    return [
        pytest.param(program, way, marks=[] if way in OFTEN.get(program, ()) else pytest.mark.slow)
        for program in PROGRAMS
        if program != NO_GRADIENT
        for way in WAYS
    ]


@pytest.mark.full(but=["masked columns-captured"])
@pytest.mark.parametrize(("program", "way"), each())
def test_every_way_gives_what_the_programs_give_or_says_why_not(program: str, way: str) -> None:
    arguments = {"program": program}
    if program in REFUSED[way]:
        refusals = ExperimentError, CaptureError, FusionError
        with pytest.raises(refusals, match=REFUSED[way][program]):
            WAYS[way](arguments)
        return
    tolerance = OF_PROGRAMS.get(program, TOLERANCES.get(way, 1e-11))
    for result, seed in zip(WAYS[way](arguments), SEEDS, strict=False):
        assert_same(result, eager(arguments, seed), tolerance)


def test_a_guide_that_has_no_gradient_is_refused_before_the_first_step() -> None:
    with pytest.raises(ModelError, match=r"'z' .VonMises. cannot be drawn with gradients"):
        trained({"program": NO_GRADIENT}, "auto")
