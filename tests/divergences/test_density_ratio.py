import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pyro_decomp.divergences.density_ratio import classification_loss, log_ratio
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import Discriminator

Loss = Callable[[nn.Module, Tensor], Tensor]


class Shift(nn.Module):
    """The logit is the first coordinate plus a weight."""

    def __init__(self, weight: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.double))

    def forward(self, z: Tensor) -> Tensor:
        return z[:, 0] + self.weight


def test_the_loss_is_the_mean_surprise_of_both_sets() -> None:
    z, other = torch.randn(5, 2).double(), torch.randn(9, 2).double()
    d = Shift(0.3)
    expected = -0.5 * (
        torch.sigmoid(d(z)).log().mean() + (1 - torch.sigmoid(d(other))).log().mean()
    )
    torch.testing.assert_close(classification_loss(d, z, other), expected)


def test_a_discriminator_that_cannot_tell_loses_log_two() -> None:
    zero = torch.zeros(4, 2, dtype=torch.double)
    assert classification_loss(Shift(), zero, zero).item() == pytest.approx(math.log(2))


def test_each_gradient_goes_one_way() -> None:
    d = Shift()
    z, other = (torch.randn(5, 2, dtype=torch.double, requires_grad=True) for _ in range(2))
    classification_loss(d, z, other).backward()
    assert d.weight.grad is not None
    assert z.grad is other.grad is None
    d.weight.grad = None
    log_ratio(d, z).sum().backward()
    assert d.weight.grad is None
    torch.testing.assert_close(z.grad, torch.tensor([1.0, 0.0]).double().expand(5, 2))


def test_one_column_of_logits_will_do() -> None:
    column = nn.Linear(3, 1)
    z = torch.randn(4, 3)
    torch.testing.assert_close(log_ratio(column, z), column(z)[:, 0])


@pytest.mark.parametrize(
    ("discriminator", "match"),
    [
        (nn.Linear(3, 2), r"one logit a row, shape \(4,\) or \(4, 1\), got \(4, 2\)"),
        (nn.Flatten(0), r"one logit a row, shape \(4,\) or \(4, 1\), got \(12,\)"),
        (Discriminator(5, (8,)), r"cannot take codes of shape \(4, 3\).* got \(4, 3\)"),
        (nn.Linear(3, 1).double(), r"cannot take codes of shape \(4, 3\) and type torch.float32"),
    ],
)
def test_what_is_refused(discriminator: nn.Module, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        log_ratio(discriminator, torch.randn(4, 3))
