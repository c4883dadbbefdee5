from collections.abc import Callable

import pyro.distributions as dist
import pytest
import torch

from pyro_decomp import AggregateELBO
from pyro_decomp.programs.factorization import is_product, of_one_datum
from tests.enumerated import ENUMERATED
from tests.example_programs import PROGRAMS, Programs

SCALES = torch.tensor([[0.2, 1.0]] * 3)
FAMILIES: dict[str, dist.TorchDistribution] = {
    "Normal": dist.Normal(torch.tensor([0.0, 1.0, 2.0]), 0.5),
    "StudentT": dist.StudentT(torch.tensor([3.0, 4.0, 5.0]), 0.1, 2.0),
    "Laplace": dist.Laplace(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0])),
    "Gamma": dist.Gamma(torch.tensor([1.0, 2.0, 3.0]), 2.0),
    "Bernoulli by probs": dist.Bernoulli(torch.tensor([0.1, 0.5, 0.9])),
    "Bernoulli by logits": dist.Bernoulli(logits=torch.tensor([0.1, 0.5, 0.9])),
    "spike and slab": dist.MixtureSameFamily(
        dist.Categorical(torch.tensor([[0.8, 0.2]] * 3)), dist.Normal(torch.zeros(3, 2), SCALES)
    ),
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_one_datum_from_the_parameters_of_all(family: dist.TorchDistribution) -> None:
    data = family.expand((4, 3)).to_event(1)
    data.log_prob(data.sample())  # torch keeps what it works out beside the parameters
    single = of_one_datum(data)
    assert single is not None
    assert tuple(single.batch_shape) == (3,)
    z = family.sample((6,))
    torch.testing.assert_close(single.log_prob(z), family.log_prob(z))


def test_what_cannot_be_made_is_none() -> None:
    flow = dist.TransformedDistribution(
        dist.Normal(torch.zeros(4, 3), 1.0), [dist.transforms.AffineTransform(1.0, 2.0)]
    )
    assert of_one_datum(flow.to_event(1)) is None
    assert of_one_datum(dist.Normal(torch.zeros(4, 3), 1.0)) is None  # two plates


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (PROGRAMS["VAE"], True),
        (PROGRAMS["VAE, learned prior"], True),
        (PROGRAMS["nested plates"], True),
        (PROGRAMS["a global latent"], True),
        (PROGRAMS["VAE, mixture prior"], False),
        (PROGRAMS["two sites"], False),
        (ENUMERATED["mixture"], False),
    ],
)
def test_which_priors_are_products(make: Callable[[], Programs], expected: bool) -> None:
    programs = make()
    pair = AggregateELBO().drawn_pair(programs.model, programs.guide, programs.x)
    assert is_product(pair) is expected
