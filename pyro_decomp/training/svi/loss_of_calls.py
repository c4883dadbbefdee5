"""A Pyro loss at the arguments of a call: what of them is data, and what decides the graph.

Internal to :mod:`.svi`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from pyro_decomp.elbo import Estimate
from pyro_decomp.elbo.pyro_elbo import differentiable_loss

PLAIN = (type(None), bool, int, str, complex, torch.dtype, torch.device, torch.Size)


class OtherArgument(Exception):  # noqa: N818 - the programs run for such a call
    """An argument that no captured step can be given; the message says which."""


@dataclass(frozen=True)
class Layout:
    """What of the arguments is the same at every step of one graph.

    Attributes:
        spec: How they are nested.
        leaves: Of each one without parts: "tensor" and the number of the tensor, "number" and the
            number's name, or "value", its type and itself.
    """

    spec: TreeSpec
    leaves: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Call:
    """The arguments of one step.

    Attributes:
        layout: What decides the graph.
        tensors: Each tensor once, without gradients.
        numbers: Python's floating-point numbers by name.
        versions: Of each tensor, how often it has been written to.
    """

    layout: Layout
    tensors: tuple[Tensor, ...]
    numbers: dict[str, float]
    versions: tuple[int, ...]

    @property
    def signature(self) -> tuple[Any, ...]:
        """Equal for two calls that one graph serves, whatever the numbers are."""
        return self.layout, *((t.shape, t.dtype, t.device) for t in self.tensors)

    @classmethod
    def of(
        cls, args: tuple[Any, ...], kwargs: dict[str, Any], constants: Collection[str] = ()
    ) -> "Call":
        """Take arguments apart.

        Raises:
            OtherArgument: One is neither a tensor nor a plain value, nor made of such.
        """
        found, spec = tree_flatten((args, kwargs))
        leaves: list[tuple[Any, ...]] = []
        places: dict[int, int] = {}
        tensors: list[Tensor] = []
        numbers: dict[str, float] = {}
        for index, leaf in enumerate(found):
            if isinstance(leaf, Tensor):
                _check(leaf)
                if id(leaf) not in places:
                    places[id(leaf)] = len(tensors)
                    tensors.append(leaf)
                leaves.append(("tensor", places[id(leaf)]))
            elif isinstance(leaf, float) and (name := f"argument_{index}") not in constants:
                numbers[name] = leaf
                leaves.append(("number", name))
            elif isinstance(leaf, (float, *PLAIN)):
                leaves.append(("value", type(leaf), leaf))
            else:
                raise OtherArgument(f"an argument is a {type(leaf).__name__}")
        given = tuple(tensor.detach() for tensor in tensors)
        versions = tuple(tensor._version for tensor in tensors)
        return cls(Layout(spec, tuple(leaves)), given, numbers, versions)

    def is_unmoved(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the arguments are as they were, after the programs have run on them."""
        constants = {f"argument_{index}" for index in range(len(self.layout.leaves))}
        now = Call.of(args, kwargs, constants - self.numbers.keys())
        return now.layout == self.layout and now.versions == self.versions


def _check(tensor: Tensor) -> None:
    if tensor.requires_grad:
        raise OtherArgument("an argument is a tensor with gradients")
    if type(tensor) is not Tensor or tensor.layout != torch.strided:
        raise OtherArgument(
            f"an argument is a tensor of type {type(tensor).__name__}, {tensor.layout}"
        )


class LossOfCalls:
    """A loss as the steps of a run see an objective, at the arguments of the last call.

    Numbers among the arguments are attributes: where they change, captured steps take them as
    inputs, as they do the weights of an objective; ``layout`` stands for what decides the graph.
    """

    def __init__(self, loss: Any, loss_and_grads: Callable[..., Any]) -> None:
        self.loss = loss
        self.layout = ""
        self._layouts = _Layouts()
        self._loss_and_grads = loss_and_grads

    def take(self, call: Call) -> tuple[Tensor, ...]:
        """Be the loss at the arguments of a call; gives those that are data."""
        layout = self._layouts.of(call.layout)
        own = vars(self)
        if layout is not self.layout:
            for name in [name for name in own if name.startswith("argument_")]:
                del own[name]
            self.layout = layout
        for name, number in call.numbers.items():
            if own.get(name) != number:
                own[name] = number
        return call.tensors

    def evaluate(self, model: Any, guide: Any, *tensors: Tensor) -> Estimate:
        """The loss, with gradients, as an objective that is maximised."""
        args, kwargs = self._layouts.filled(self.layout, tensors, vars(self))
        with torch.enable_grad():
            loss = differentiable_loss(self._loss_and_grads, model, guide, args, kwargs)
        return Estimate({}, -loss, -loss.detach(), num_data=1, total=1, pairs=())


class _Layouts:
    """Layouts by names."""

    _is_memory_of_programs = True

    def __init__(self) -> None:
        self._names: dict[Layout, str] = {}
        self._named: dict[str, Layout] = {}

    def of(self, layout: Layout) -> str:
        """The name of a layout, one object for one layout."""
        if layout not in self._names:
            name = f"layout {len(self._names)}"
            self._names[layout], self._named[name] = name, layout
        return self._names[layout]

    def filled(self, name: str, tensors: Sequence[Tensor], numbers: dict[str, Any]) -> Any:
        """The arguments, by place and by name, of a layout."""
        layout = self._named[name]
        leaves = [
            tensors[what] if kind == "tensor" else numbers[what] if kind == "number" else rest[0]
            for kind, what, *rest in layout.leaves
        ]
        return tree_unflatten(leaves, layout.spec)
