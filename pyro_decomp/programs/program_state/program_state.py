"""What programs keep in Python between their runs: one object for all of it."""

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import _lru_cache_wrapper, wraps
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import _disable_current_modes

from pyro_decomp.programs.program_state.fingerprint import (
    Fingerprint,
    is_random_kind,
    numbers_of,
    set_state_of,
    state_of,
    version_of,
)
from pyro_decomp.programs.program_state.kept_values import UnkeptError, encoded, memory_of, put
from pyro_decomp.programs.program_state.modules import find_modules, tensors_kept
from pyro_decomp.programs.program_state.reachable import PLAIN
from pyro_decomp.programs.program_state.slots import ABSENT
from pyro_decomp.programs.program_state.snapshot import Snapshot
from pyro_decomp.programs.program_state.walk import Node, is_flat, walk
from pyro_decomp.seeds import random_state, set_random_state

T = TypeVar("T")
MOST_WATCHED = 2_000  # places that are compared before every step, the nearest first
Program = Callable[..., Any]


class ProgramState:
    """The plain Python state that some programs reach.

    Attributes, closure variables, globals that functions name, defaults and attributes of
    functions, attributes of the user's classes, items of containers, iterators, generators of
    random numbers, and tensors and arrays that nothing else carries. It is named by dotted paths
    from the roots; a bound method's root stands for its owner, so that ``model.prior.scale`` is
    ``vae.prior.scale`` where ``model`` is ``vae.model``.

    Looking alters nothing: no iterator is advanced, no attribute is asked for.

    Args:
        networks: Whose parameters and buffers are carried elsewhere, with all their submodules.
        tensors: Others that are carried elsewhere, such as those of Pyro's param store.
        **roots: What to start from, by name: ``model=``, ``guide=``, ``elbo=``.

    Attributes:
        moving: What every run of the programs moves, as :meth:`look` found it.
        moves_nothing: Whether :meth:`look` found that no run moves anything, the first of training
            among them.
    """

    _is_memory_of_programs = True

    def __init__(
        self, networks: Iterable[nn.Module] = (), tensors: Iterable[Tensor] = (), **roots: Any
    ) -> None:
        self.roots: Mapping[str, Any] = roots
        self._networks = list(networks)
        self._tensors = list(tensors)
        self.moving: dict[str, str] = {}
        self.moves_nothing = False
        self._started = Fingerprint(())
        self._in_motion: list[Node] | None = None

    def start(self, carried: Iterable[Tensor] = ()) -> None:
        """Take what there is now for the start, with which :meth:`moved` compares.

        Args:
            carried: Further tensors that are carried elsewhere, and left out from now on.
        """
        self._tensors += carried
        self._started = self.fingerprint()

    def fingerprint(self) -> Fingerprint:
        """Take a fingerprint of what there is now, to be compared; it takes 0.1 to 1 ms."""
        with _disable_current_modes():
            return Fingerprint(self._nodes())

    def watch(self) -> Callable[[], str]:
        """Take the object in every place for granted, but for networks' modes and the objective.

        Returns:
            What gives the path of a place that has another object, or a tensor or a container of
            plain values that was written to; empty if none has. It takes some microseconds, and
            does not see all that :meth:`fingerprint` does.
        """
        watched = [
            (node.path, node.slot, _content(node.thing))
            for node in self._nodes()[:MOST_WATCHED]
            if node.slot is not None and node.slot.access.read is not None
            if not node.path.endswith(".training") and not node.path.startswith("elbo.")
        ]

        def changed() -> str:
            for path, slot, content in watched:
                try:
                    now = slot.get()
                except (AttributeError, LookupError, ValueError):
                    return path
                if now is not slot.value and not _is_plain_and_equal(now, slot.value):
                    return path
                if content is not None and _content(now) != content:
                    return path
            return ""

        return changed

    def moved_by(self, run: Callable[[], Any]) -> dict[str, str]:
        """What a run of the programs moves; :meth:`Fingerprint.difference` tells the form.

        The global generators of Python and numpy are among it as "generator". The first run of
        programs may fill caches: run them once before.
        """
        before, numbers = self.fingerprint(), _global_numbers()
        run()
        moved = before.difference(self.fingerprint())
        after = _global_numbers()
        return moved | {name: "generator" for name in numbers if numbers[name] != after[name]}

    def keep(self) -> Snapshot:
        """Keep what there is now, for :meth:`put_back`."""
        with _disable_current_modes():
            return Snapshot(self._nodes())

    def keep_generators(self) -> Callable[[], None]:
        """Keep how far the programs' own generators of random numbers are.

        Returns:
            What puts them back; nothing where no run of the programs moves anything.
        """
        nodes = self._nodes() if self._is_moving else []
        found = [(n.thing, state_of(n.thing)) for n in nodes if is_random_kind(type(n.thing))]

        def put_back() -> None:
            for generator, state in found:
                set_state_of(generator, state)

        return put_back

    def keep_moving(self) -> Callable[[], bool]:
        """Keep what every run of the programs moves, which takes microseconds a place.

        Returns:
            What puts it back; it gives False where that could not be done.
        """
        if self._in_motion is None:
            found = self._nodes() if self._is_moving else []
            self._in_motion = [node for node in found if node.path in self.moving]
        kept = [node._replace(thing=_now(node)) for node in self._in_motion]
        snapshot = Snapshot(kept)

        def put_back() -> bool:
            with _disable_current_modes():
                places = {n.path: _place(n) for n in self._nodes() if not n.is_part}
                for node in (each for each in kept if not each.is_part):
                    place = _place(node)
                    if place is None or places.get(node.path) != place or node.thing is ABSENT:
                        return False
                    assert node.slot is not None
                    if node.slot.get() is not node.thing and node.slot.set is not None:
                        node.slot.set(node.thing)
                return not snapshot.put_back()

        return put_back

    def put_back(self, snapshot: Snapshot) -> list[str]:
        """Make everything as it was when it was kept, in the objects that held it then.

        Returns:
            Paths of what moved and could not be put back, such as a generator function's place.
        """
        with _disable_current_modes():
            return snapshot.put_back()

    @contextmanager
    def preserving_rng_and_buffers(self) -> Iterator[None]:
        """Put everything back afterwards: this state, tensors of networks, random generators."""
        kept, generators = self.keep(), random_state()
        with tensors_kept(self._networks):
            try:
                yield
            finally:
                self.put_back(kept)
                set_random_state(generators)

    def look(self, run: Callable[[], T]) -> T:
        """Run the programs until it is known what every run moves, and put that back.

        What they make in their first run alone, such as a cache, is there from now on and at the
        start (:meth:`start`); unless that run writes to networks as no other does, as where numbers
        are taken from the first batch: then the first step is to do so.
        """
        kept, numbers, tensors = self.keep(), _global_numbers(), self._tensors_of_networks()
        before = self.fingerprint()
        result = run()
        self.moves_nothing = before == self.fingerprint()
        if not self.moves_nothing or numbers != _global_numbers():
            after, written = self._tensors_of_networks(), set()
            try:
                self.moving = self.moved_by(run)
                written = _written(tensors, after) - _written(after, self._tensors_of_networks())
                self.moves_nothing = not written and not self._is_moving
            except Exception:  # in a later stage of the programs, which training will come to
                self.moving, self.moves_nothing = before.difference(self.fingerprint()), False
            if written:
                self.put_back(kept)
            else:
                with _disable_current_modes():
                    kept.put_back_at(self.moving, self._nodes())
        self.start()
        return result

    def unmoved(self, program: Program) -> Program:
        """Wrap a program so that it leaves all this as it was; itself if its runs move nothing."""
        if not self._is_moving:
            return program

        @wraps(program, updated=())
        def run(*args: Any, **kwargs: Any) -> Any:
            kept = self.keep()
            try:
                return program(*args, **kwargs)
            finally:
                self.put_back(kept)

        return run

    @property
    def _is_moving(self) -> bool:
        """Whether every run moves something beside the global generators."""
        return not set(self.moving.values()) <= {"generator"}

    def moved(self) -> dict[str, str]:
        """What differs from what there was at the start."""
        return self._started.difference(self.fingerprint())

    def values(self) -> tuple[dict[str, Any], list[str]]:
        """What has moved since the start, for a checkpoint.

        Returns:
            Values by dotted path, in types that ``torch.load(weights_only=True)`` reads; and the
            paths of what moved and cannot be kept, such as an open iterator.
        """
        with _disable_current_modes():
            nodes = self._nodes()
            things = {node.path: node.thing for node in nodes if not node.is_part}
            remembered = {node.path for node in nodes if _is_remembered(node)}
            values: dict[str, Any] = {}
            unkept: list[str] = []
            for path in self._started.difference(Fingerprint(nodes)):
                if path in remembered:
                    continue
                try:
                    values[path] = encoded(things[path])
                except (UnkeptError, KeyError):
                    unkept.append(path)
            return values, unkept

    def load(self, values: Mapping[str, Any]) -> list[str]:
        """Put back what :meth:`values` gave, in place where that can be done."""
        missing = []
        of_networks = [t for each in self._networks for t in (*each.parameters(), *each.buffers())]
        carried = {memory_of(t) for t in of_networks if not is_lazy(t)}
        with _disable_current_modes():
            for path, value in values.items():
                nodes = {node.path: node for node in reversed(self._nodes())}
                is_known = path in nodes or path in self.moving
                if not is_known or not put(nodes, path, value, carried):
                    missing.append(path)
        return missing

    def _tensors_of_networks(self) -> dict[str, Tensor]:
        """The numbers in parameters and buffers, by name."""
        networks = enumerate(self._networks)
        return {
            f"{index}.{name}": tensor.detach().clone()
            for index, network in networks
            for name, tensor in (*network.named_parameters(), *network.named_buffers())
            if not is_lazy(tensor)
        }

    def _nodes(self) -> list[Node]:
        parts = [part for network in self._networks for part in network.modules()]
        carried = [*self._tensors]
        for part in parts:
            kept = (*part._parameters.values(), *part._buffers.values())
            carried += [tensor for tensor in kept if tensor is not None]
        ids = set(map(id, carried))
        memory = {memory_of(tensor) for tensor in carried if not is_lazy(tensor)}
        nodes = walk(self.roots, frozenset(map(id, parts)), ids)
        return [
            node  # but for views of what is carried, as automatic guides keep in their prototype
            for node in nodes
            if not (isinstance(node.thing, Tensor) and memory_of(node.thing) in memory)
        ]


@contextmanager
def preserving_rng_and_buffers(programs: Iterable[Any] = ()) -> Iterator[None]:
    """Put back afterwards what runs of programs move, and every global random generator.

    Args:
        programs: Models, guides, and networks themselves: their tensors, such as BatchNorm's
            statistics, and the plain Python state that they reach.
    """
    roots = {f"program_{index}": program for index, program in enumerate(programs)}
    with ProgramState(find_modules(roots.values()), **roots).preserving_rng_and_buffers():
        yield


def _now(node: Node) -> Any:
    """What is in the place of a node now."""
    try:
        return node.thing if node.slot is None else node.slot.get()
    except (AttributeError, LookupError, ValueError):
        return ABSENT


def _place(node: Node) -> tuple[int, Any] | None:
    return None if node.slot is None else (id(node.slot.owner), node.slot.key)


def _content(thing: Any) -> Any:
    """What is in a tensor or a container of plain values, as far as it costs nothing to compare."""
    if isinstance(thing, Tensor):
        return version_of(thing)
    return copy.copy(thing) if type(thing) in (dict, list, set) and is_flat(thing) else None


def _is_plain_and_equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and type(one) in PLAIN and bool(one == other)


def _written(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """Which tensors are there at both moments with other numbers."""
    both = before.keys() & after.keys()
    return {name for name in both if not torch.equal(before[name], after[name])}


def _is_remembered(node: Node) -> bool:
    """Whether it is a plain result that a cached function computes again where it is missing."""
    is_cached = node.slot is not None and isinstance(node.slot.owner, _lru_cache_wrapper)
    return is_cached and type(node.thing) in PLAIN


def _global_numbers() -> dict[str, Any]:
    """The state of the global generators that are not torch's."""
    return {
        "random": random.getstate(),
        "numpy.random": numbers_of(state_of(np.random.mtrand._rand)),
    }
