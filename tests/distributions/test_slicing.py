from typing import Any

import pyro.distributions as dist
import pytest
import torch

from pyro_decomp.distributions.slicing import combined, joined, picked

ROW = torch.arange(1.0, 7.0).double().reshape(3, 2) / 7
FAMILIES: dict[str, Any] = {
    "Normal": dist.Normal(ROW, 1.0).to_event(1),
    "shared scale": dist.Normal(ROW, torch.tensor([0.5, 2.0]).double()).to_event(1),
    "Laplace": dist.Laplace(ROW, ROW).to_event(1),
    "StudentT": dist.StudentT(4.0, ROW, ROW).to_event(1),
    "Gamma": dist.Gamma(ROW, ROW).to_event(1),
    "LogNormal": dist.LogNormal(ROW, ROW).to_event(1),
    "MultivariateNormal": dist.MultivariateNormal(ROW, torch.eye(2).double()),
    "Categorical": dist.Categorical(probs=ROW),
    "logits": dist.Categorical(logits=ROW),
    "OneHotCategorical": dist.OneHotCategorical(ROW),
    "Bernoulli": dist.Bernoulli(ROW).to_event(1),
    "Dirichlet": dist.Dirichlet(ROW),
    "mixture": dist.MixtureSameFamily(
        dist.Categorical(ROW), dist.Normal(ROW[..., None].expand(3, 2, 4), 1.0).to_event(1)
    ),
    "masked": dist.Normal(ROW, 1.0).to_event(1).mask(torch.tensor([True, False, True])),
    "Delta": dist.Delta(ROW, event_dim=1),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_a_distribution(family: str) -> None:
    fn, rows = FAMILIES[family], torch.tensor([2, 0, 0])
    some = combined([fn], picked(rows), -1)
    both = combined([fn, fn], joined, -1)
    assert some is not None
    assert both is not None
    value = fn.sample()
    assert some.event_shape == both.event_shape == fn.event_shape
    assert both.batch_shape == (6,)
    torch.testing.assert_close(some.log_prob(value[rows]), fn.log_prob(value)[rows])
    torch.testing.assert_close(
        both.log_prob(value.repeat(2, *[1] * (value.dim() - 1))), fn.log_prob(value).repeat(2)
    )


def test_a_family_that_is_not_known_by_its_parameters_is_left() -> None:
    flow = dist.TransformedDistribution(
        dist.Normal(ROW, 1.0), [dist.transforms.AffineTransform(ROW, 2.0)]
    )
    assert combined([flow], picked(torch.tensor([0])), -2) is None
