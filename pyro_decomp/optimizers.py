"""What is known of optimisers."""

import torch

ELEMENTWISE = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
)


def is_elementwise(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it treats every number of a parameter by itself.

    Then parameters of several networks can be stacked, or those of one joined, and are trained as
    they would be apart.
    """
    return type(optimizer) in ELEMENTWISE
