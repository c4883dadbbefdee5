"""What values are computed from: other sites, or inputs of a program (internal)."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.inspect import TrackProvenance
from pyro.ops.provenance import get_provenance
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyro_decomp.programs.program_state import preserving_rng_and_buffers
from pyro_decomp.programs.sites import sample_sites

# These take the shape, type and device of a tensor, and nothing of its values.
_OF_SHAPE = {
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"),
    *("randint_like", "new_empty", "new_empty_strided", "new_zeros", "new_ones", "new_full"),
}


def dependencies(
    program: Callable[..., Any], trace: poutine.Trace, *args: Any, **kwargs: Any
) -> dict[str, set[str]]:
    """For each random site of a program, the others that its distribution depends on.

    They are direct parents, observed ones among them, seen at the values of the trace. The program
    is run once more to find out, without a trace in random generators, buffers or what it keeps in
    Python; one of fewer than two sites needs no run.

    Returns:
        Site name to the names of the sites that it depends on.
    """
    names = {site["name"] for site in sample_sites(trace)}
    if len(names) < 2:
        return {name: set() for name in names}
    run = partial(program, *args, **kwargs)
    with preserving_rng_and_buffers([program]), torch.no_grad(), pyro.validation_enabled(False):
        with SampleProvenance():
            # The same values again: not every family can draw while dependence is tracked.
            tracked = poutine.trace(poutine.replay(run, trace=trace)).get_trace()
        return {
            site["name"]: (names & get_provenance(site["fn"].log_prob(site["value"])))
            - {site["name"]}
            for site in sample_sites(tracked)
        }


class SampleProvenance(TrackProvenance):
    """Tells which values came from which sample sites, and leaves parameters as they are.

    Pyro's own handler wraps parameters too, which then lack what Pyro's modules, its automatic
    guides among them, ask of a parameter.
    """

    def _pyro_post_param(self, msg: Any) -> None:
        pass


class Provenance(TorchDispatchMode):
    """A mode that follows names of tensors through all that is computed under it.

    Unlike Pyro's, which wraps tensors, it is seen by no program and follows no operation that takes
    only a shape. Views of one tensor share its names; numbers of Python lose theirs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[int, frozenset[str]] = {}
        self._alive: list[Tensor] = []  # or an address could be given to another

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes a second

    def of(self, tensor: Tensor) -> frozenset[str]:
        """The names of what a tensor's values come from."""
        return self._names.get(_memory(tensor), frozenset())

    def set(self, tensor: Tensor, names: Iterable[str]) -> None:
        """Make these a tensor's names from now on."""
        self._alive.append(tensor)
        self._names[_memory(tensor)] = frozenset(names)

    def add(self, tensor: Tensor, names: Iterable[str]) -> None:
        """Add these to a tensor's names from now on."""
        self.set(tensor, self.of(tensor).union(names))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func._schema.name.partition("::")[2] in _OF_SHAPE:
            return result
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        names = frozenset().union(*map(self.of, given))
        if names:
            changed = given[:1] if func._schema.is_mutable else []
            for tensor in (*changed, *tree_leaves(result)):
                if isinstance(tensor, Tensor):
                    self.add(tensor, names)
        return result


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)
