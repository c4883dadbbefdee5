import torch

from pyro_decomp.networks.layers import normal


def test_the_scale_is_the_formula_and_never_zero() -> None:
    raw = torch.tensor([-200.0, -1.0, 0.0, 3.0], dtype=torch.float64)
    output = normal(torch.arange(4.0), raw)
    assert output.event_shape == (4,)
    torch.testing.assert_close(output.base_dist.scale, torch.log1p(raw.exp()) + 1e-6)
    torch.testing.assert_close(output.base_dist.loc, torch.arange(4.0))
