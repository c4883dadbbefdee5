import torch
from torch.nn.functional import relu, softplus

from pyro_decomp.networks import MLPEncoder


def test_the_perceptron_is_its_formula() -> None:
    network = MLPEncoder(4, 2, hidden=(8,))
    weights = network.state_dict()
    x = torch.randn(5, 4)
    hidden = relu(x @ weights["body.0.weight"].T + weights["body.0.bias"])
    output = network(x).base_dist
    torch.testing.assert_close(output.loc, hidden @ weights["loc.weight"].T + weights["loc.bias"])
    torch.testing.assert_close(
        output.scale, softplus(hidden @ weights["scale.weight"].T + weights["scale.bias"]) + 1e-6
    )
