"""Optimisers of torch's, with the settings under which their steps are computed otherwise."""

from collections.abc import Callable, Iterable
from functools import partial

from torch import Tensor, optim

Parameters = Iterable[Tensor]


def two_groups(parameters: Parameters) -> optim.Optimizer:
    every = list(parameters)
    groups = [{"params": every[:2], "lr": 1e-2}, {"params": every[2:], "lr": 1e-3}]
    return optim.Adam(groups)


OPTIMIZERS: dict[str, Callable[[Parameters], optim.Optimizer]] = {
    "Adam": partial(optim.Adam, lr=1e-2, fused=True),
    "Adam, not fused": partial(optim.Adam, lr=1e-2),
    "Adam, weight decay": partial(optim.Adam, lr=1e-2, weight_decay=0.1),
    "AdamW": partial(optim.AdamW, lr=1e-2, weight_decay=0.1, fused=True),
    "AMSGrad": partial(optim.Adam, lr=1e-2, amsgrad=True, fused=True),
    "Nesterov": partial(optim.SGD, lr=1e-3, momentum=0.9, nesterov=True),
    "RMSprop": partial(optim.RMSprop, lr=1e-3, centered=True),
    "Adagrad": partial(optim.Adagrad, lr=1e-2),
    "NAdam": partial(optim.NAdam, lr=1e-2),
    "RAdam": partial(optim.RAdam, lr=1e-2),
    "Adamax": partial(optim.Adamax, lr=1e-2),
    "two groups": two_groups,
}
