"""The maximum mean discrepancy between codes and draws of the prior."""

from functools import partial

from jaxtyping import Float
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.divergences import nufft, one_dimensional
from pyro_decomp.divergences.base import Divergence, of_samples
from pyro_decomp.divergences.kernels import (
    AnyKernel,
    InverseMultiquadratic,
    check_kernel,
    fitted,
)
from pyro_decomp.divergences.pairs import Weights, check, u_statistic
from pyro_decomp.programs.traces import TracePair


def mmd(
    x: Float[Tensor, "b d"],
    y: Float[Tensor, "s d"],
    kernel: AnyKernel | None = None,
    weights: Weights = (None, None),
    *,
    is_paired: bool = False,
) -> Float[Tensor, ""]:
    r"""Squared maximum mean discrepancy between two samples, the U-statistic.

    .. math::
        \frac{1}{B(B-1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{S(S-1)} \sum_{i \ne j} k(y_i, y_j)
        - \frac{2}{BS} \sum_{i,j} k(x_i, y_j)

    Gretton et al., "A Kernel Two-Sample Test", 2012, eq. 3
    (https://jmlr.org/papers/v13/gretton12a.html). Unbiased, and so negative about as often as not
    where the two distributions are equal; it is never clamped. It has no unit (it is not in nats):
    with kernels of at most 1 each it is at most 2 for each of them.

    Time grows as B^2 + S^2, memory does not.

    Args:
        x: Codes, one a row, at least two.
        y: Draws of the prior, likewise; as many as you like.
        kernel: The kernel, or an elementwise function of squared distances; by default
            :class:`InverseMultiquadratic`.
        weights: How much each row of x and of y counts; None where all count the same. Pairs then
            count the product of their rows'.
        is_paired: Whether rows i of both samples belong to one datum, B = S of them: the sum across
            then leaves out i = j, and its factor is 2/(B(B-1)).

    Returns:
        The estimate, a scalar with gradients; it has no unit.

    Raises:
        ArgumentError: A sample has fewer than two rows, or the rows differ in length, or pairs lack
            one of their rows.

    Example:
        >>> import torch
        >>> from pyro_decomp.divergences import RBF
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> round(mmd(x, x + 9, RBF(bandwidth=1.0)).item(), 4)  # 2 exp(-1/2)
        1.2131
    """
    check(x, y, weights, is_paired=is_paired)
    kernel = InverseMultiquadratic() if kernel is None else kernel
    return u_statistic(x, y, fitted(kernel, x, y), weights, is_paired=is_paired)


def dimensionwise_mmd(
    x: Float[Tensor, "b d"],
    y: Float[Tensor, "s d"],
    kernel: AnyKernel | None = None,
    weights: Weights = (None, None),
    *,
    is_paired: bool = False,
) -> Float[Tensor, ""]:
    r"""The sum over dimensions of :func:`mmd` between the one-dimensional marginals.

    With the two kernels of ours, sums over pairs become a convolution on a grid: exact to 1e-11 of
    the kernel's scale, in time that grows as B + S. Functions of your own form all pairs, as
    happens where few points lie far apart: there pairs are cheaper. On a GPU, sums on the grid are
    in no fixed order: the last bits may differ from run to run.

    Args:
        x: Codes, one a row, at least two.
        y: Draws of the prior, likewise; as many as you like.
        kernel: The kernel, or an elementwise function of squared distances, used in each dimension;
            by default :class:`InverseMultiquadratic`.
        weights: As for :func:`mmd`.
        is_paired: As for :func:`mmd`.

    Returns:
        The sum of the estimates, a scalar with gradients; it has no unit.

    Raises:
        ArgumentError: As :func:`mmd`.
    """
    check(x, y, weights, is_paired=is_paired)
    width = max(1, nufft.POINTS // (len(x) + len(y)))
    kernel = InverseMultiquadratic() if kernel is None else kernel
    groups = zip(x.T[..., None].split(width), y.T[..., None].split(width), strict=True)
    if weights != (None, None):
        values = (
            u_statistic(a, b, fitted(kernel, a, b), weights, is_paired=is_paired) for a, b in groups
        )
        return sum(values, x.new_zeros(()))
    each = (one_dimensional.u_statistic(a, b, kernel, is_paired=is_paired) for a, b in groups)
    return sum(each, x.new_zeros(()))


class MMD(Divergence):
    r"""Squared maximum mean discrepancy between q(z) and p(z), over all dimensions jointly.

    .. math:: E k(z, z') + E k(y, y') - 2 E k(z, y),  z, z' ~ q(z),  y, y' ~ p(z)

    by the U-statistic of :func:`mmd` between the batch's own codes and draws of the prior. Unbiased
    for the q(z) of the distribution that data come from (of N given data it leaves out pairs of
    codes of one datum, a share of 1/N), so that it can be negative near equality. Where the prior
    is given something of the datum, draw i belongs to datum i, and the pair with code i is left
    out too; ``num_samples`` is rounded up to a multiple of the batch. No unit; weights
    of 10 to 1000 are usual beside nats.

    With AggregateELBO and ``alpha=0``, or as a part of weight 0, it is left out: the plain ELBO.
    Tolstikhin et al., "Wasserstein Auto-Encoders", 2018, section 4
    (https://arxiv.org/abs/1711.01558); Zhao et al., "InfoVAE", 2017
    (https://arxiv.org/abs/1706.02262).

    Args:
        kernel: The kernel, or an elementwise function of squared distances.
        num_samples: S, draws from the prior, at least 2; None for as many as the batch has data.

    Raises:
        ArgumentError: ``kernel`` is not a kernel and cannot be called, or ``num_samples`` is less
            than 2.
    """

    def __init__(self, kernel: AnyKernel | None = None, *, num_samples: int | None = None) -> None:
        self.kernel = InverseMultiquadratic() if kernel is None else kernel
        check_kernel(self.kernel)
        arguments.whole(2, **arguments.given(num_samples=num_samples))
        self.num_samples = num_samples

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate the discrepancy; it has no unit.

        Returns:
            The estimate, a scalar with gradients.

        Raises:
            ModelError: No latent site is inside the data plate; the batch has one datum alone; the
                prior is learned but its sampler passes no gradients.
        """
        distance = partial(mmd, kernel=self.kernel)
        return of_samples(distance, traces, self.num_samples, type(self).__name__)


class DimensionwiseMMD(MMD):
    r"""The sum over dimensions j of the squared MMD between q(z_j) and p(z_j).

    What Mathieu et al. 2019, section 6.3 (https://arxiv.org/abs/1812.02833), regularise sparse
    codes with. It compares marginals alone: codes with the right marginals that depend on one
    another are not told from the prior. Everything else as for :class:`MMD`, whose arguments it
    takes; the kernel is applied to one dimension at a time.
    """

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate the discrepancy; it has no unit.

        Returns:
            The estimate, a scalar with gradients.

        Raises:
            ModelError: As for :class:`MMD`.
        """
        distance = partial(dimensionwise_mmd, kernel=self.kernel)
        return of_samples(distance, traces, self.num_samples, type(self).__name__)
