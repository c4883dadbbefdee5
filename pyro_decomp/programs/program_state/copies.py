"""Programs copied with all that they keep, so that what runs move is the copy's own (internal).

``copy.deepcopy`` takes functions for constants: a copy of a model that closes over a network, or
names one as a global, would have the same network. Here a function is made anew around copies of
its closure variables and of the globals that it names.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from pyro_decomp.errors import ModelError
from pyro_decomp.programs.program_state.copier import Copier, is_trained, refused
from pyro_decomp.programs.program_state.copying import ways
from pyro_decomp.programs.program_state.walk import Node, walk


def copied(roots: Mapping[str, Any], data: Iterable[Tensor] = ()) -> dict[str, Any]:
    """Copies of programs and of all that they reach, what they share being shared by the copies.

    Classes, modules of libraries and what else holds nothing of a program's are not copied, nor are
    data: tensors that look at the memory of ``data``, and others of more than 4 MiB that are no
    network's.

    Raises:
        ModelError: Something cannot be copied, or a network would still be shared, as one is that
            methods of a class name as a global; the message has its path.
    """
    copier = Copier(roots, data, ways)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of iterators
        copies = {name: copier.copy(root) for name, root in roots.items()}
    if (path := shared_network(walk(roots), walk(copies))) is not None:
        raise refused(path, "a class, or what a class names, holds it")
    return copies


def shared_network(some: Iterable[Node], others: Iterable[Node]) -> str | None:
    """The path of a network, or of a tensor that is trained, which is among some and others."""
    paths = {id(node.thing): node.path for node in some if is_trained(node.thing)}
    found = (paths[id(n.thing)] for n in others if is_trained(n.thing) and id(n.thing) in paths)
    return next(found, None)


def check_own(
    roots: Mapping[str, Any], copies: Mapping[str, Any], moving: Mapping[str, str]
) -> None:
    """Check that what runs of copies move is theirs alone.

    Raises:
        ModelError: It is in something that is not copied, as an attribute of a class is; the
            message has its path.
    """
    if set(moving.values()) <= {"generator"}:
        return
    nodes = list(walk(roots))
    others = {id(n.thing) for n in nodes} | {id(n.slot.owner) for n in nodes if n.slot is not None}
    for node in walk(copies):
        if node.path not in moving or node.slot is None:
            continue
        is_written = isinstance(node.thing, Tensor | np.ndarray)
        holder = node.thing if is_written else node.slot.owner
        if id(holder) in others:
            raise refused(node.path, "every run of the programs changes it, and others share it")


@contextmanager
def not_run(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Have the block run none of the networks of which its programs are to have copies.

    Raises:
        ModelError: It ran one, in a way that no copy of a program follows.
    """
    ran: list[nn.Module] = []
    parts = [(network, part) for network in networks for part in network.modules()]
    hooks = [
        part.register_forward_pre_hook(lambda _, __, network=network: ran.append(network))
        for network, part in parts
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    if ran:
        raise ModelError(
            f"modules: expected programs that run the copy of {type(ran[0]).__name__} that the run "
            "has, as training leaves what it is given as it was, got programs that run the network "
            "itself, as by an import within a function (name it at the top of the file, or make it "
            "an attribute of an object that the programs use)"
        )
