"""What callbacks keep, for checkpoints and for going back to an earlier step."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyro_decomp.errors import RunError, listed
from pyro_decomp.programs.program_state import ProgramState
from pyro_decomp.programs.program_state.kept_values import UnkeptError, decoded, encoded
from pyro_decomp.training.callbacks import Callback, is_own
from pyro_decomp.training.state import State


class CallbackStates:
    """The state of callbacks: what they say it is, else all plain values that they reach."""

    def __init__(self, callbacks: Sequence[Callback], state: State) -> None:
        self._callbacks = callbacks
        self._names = _distinct([type(callback).__name__ for callback in callbacks])
        self._found = {
            name: ProgramState(state.modules, state.parameters.values(), **{name: callback})
            for name, callback in self._named()
            if not (hasattr(callback, "state_dict") or is_own(callback))
        }
        for found in self._found.values():
            found.start()

    def states(self) -> dict[str, Any]:
        """What callbacks keep, by their names, in types that load without unpickling.

        Raises:
            RunError: The ``state_dict`` of one has more than values in it.
        """
        found = {name: _plain(each.values()[0]) for name, each in self._found.items()}
        states = {name: found[name] for name in found if found[name]}
        return states | {name: state for name, state in self._own().items() if state}

    def begin(self, states: Mapping[str, Any]) -> None:
        """Give callbacks what :meth:`states` gave; ``{}`` for a run that begins.

        Raises:
            RunError: There are states of others than these callbacks.
        """
        if missing := [name for name in states if name not in self._names]:
            raise RunError(
                f"the checkpoint has what the callbacks {listed(missing)} keep, and there are none "
                "of these names: give the same callbacks as before"
            )
        self._load_own(states)
        for name, found in self._found.items():
            if paths := found.load(states.get(name, {})):
                raise RunError(
                    f"the checkpoint has {listed(paths)}, which the callback {name} does not keep: "
                    "give the same callbacks as before"
                )

    def keep(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Keep what callbacks keep now, for :meth:`put_back`."""
        return self._own(), {name: found.keep() for name, found in self._found.items()}

    def put_back(self, kept: tuple[dict[str, Any], dict[str, Any]]) -> list[str]:
        """Make what callbacks keep as it was when it was kept; paths where that cannot be done."""
        own, snapshots = kept
        self._load_own(own)
        return [path for n, found in self._found.items() for path in found.put_back(snapshots[n])]

    def _own(self) -> dict[str, Any]:
        """What callbacks say that their state is, in types that load without unpickling."""
        return {
            n: _encoded(n, c.state_dict()) for n, c in self._named() if hasattr(c, "state_dict")
        }

    def _load_own(self, states: Mapping[str, Any]) -> None:
        for name, callback in self._named():
            if hasattr(callback, "load_state_dict"):
                state = states.get(name, {})
                callback.load_state_dict({key: decoded(value) for key, value in state.items()})

    def _named(self) -> Iterator[tuple[str, Callback]]:
        return zip(self._names, self._callbacks, strict=True)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that came before.

    >>> _distinct(["HeldOut", "HeldOut"])
    ['HeldOut', 'HeldOut_2']
    """
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values but for the places of iterators, which a callback makes anew where it is started."""
    is_place = {path: isinstance(v, list) and v[:1] == ["position"] for path, v in values.items()}
    return {path: value for path, value in values.items() if not is_place[path]}


def _encoded(name: str, state: Any) -> dict[str, Any]:
    try:
        return {str(key): encoded(value) for key, value in state.items()}
    except (UnkeptError, AttributeError) as error:
        raise RunError(
            f"the callback {name}: expected a state_dict() of names with numbers, strings, lists, "
            f"dictionaries, arrays and tensors, got {type(state).__name__} with more in it"
        ) from error
