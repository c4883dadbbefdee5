"""Powers of what is not negative, with finite gradients at zero."""

from torch import Tensor


def power(base: Tensor, exponent: Tensor) -> Tensor:
    r"""base^exponent for base >= 0 and exponent > 0, whose gradient where the base is 0 is 0.

    Of |v|^r at v = 0 that is the derivative for r > 1, and for r <= 1, where there is a kink or a
    cusp, the mean of the slopes on its two sides.

    >>> import torch
    >>> x = torch.zeros((), requires_grad=True)
    >>> torch.autograd.grad(power(x, torch.tensor(0.5)), x)
    (tensor(0.),)
    """
    is_zero = base == 0
    return (base.masked_fill(is_zero, 1.0) ** exponent).masked_fill(is_zero, 0.0)
