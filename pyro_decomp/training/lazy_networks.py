"""Networks that learn their sizes from the first batch that they see, as ``nn.LazyLinear``."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.nn.parameter import is_lazy

from pyro_decomp.errors import ExperimentError
from pyro_decomp.programs.program_state.modules import in_mode


def has_lazy(modules: Sequence[nn.Module]) -> bool:
    """Whether a parameter or buffer has no size yet."""
    return next(_lazy_names(modules), None) is not None


def give_sizes(modules: Sequence[nn.Module], run: Callable[[], Any]) -> None:
    """Run programs once, in evaluation mode and without gradients, so that sizes are found.

    The initial values are drawn from torch's global generator, as those of other networks are when
    they are made.

    Args:
        modules: The networks.
        run: Runs the programs on a batch.

    Raises:
        ExperimentError: A network is not run by them.
    """
    with in_mode(modules, training=False), torch.no_grad(), _Undeclared():
        run()
    if left := list(_lazy_names(modules)):
        raise ExperimentError(
            f"the size of {', '.join(left)} is not known, as neither the model nor the guide runs "
            "that lazy network: remove it, or make it with its sizes"
        )


def _lazy_names(modules: Sequence[nn.Module]) -> Iterator[str]:
    for module in modules:
        for name, tensor in chain(module.named_parameters(), module.named_buffers()):
            if is_lazy(tensor):
                yield name


class _Undeclared(Messenger):
    """Keeps ``pyro.module`` from registering parameters that have no size yet."""

    def _pyro_param(self, msg: Any) -> None:
        args = msg["args"]
        if len(args) > 1 and is_lazy(args[1]):
            msg["value"] = args[1]
            msg["done"] = True
