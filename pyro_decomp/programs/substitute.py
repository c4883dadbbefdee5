"""One handler that gives sites of a program other values, or other distributions (internal)."""

from collections.abc import Callable, Collection
from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_decomp.programs.sites import Site


class Substitute(Messenger):
    """Gives sample sites values without observing them, as NumPyro's handler of that name does.

    Args:
        change: ``change(site)`` is called for every sample site before it is drawn. It returns the
            site's value, or None to have it drawn; it may put another distribution into the site.
        record: Names of the sites to record.
        until: Names of the sites, recorded too, after the last of which the program is left; none
            to run it to its end.

    Attributes:
        sites: The recorded sites by name, in the order of the program.
    """

    def __init__(
        self,
        change: Callable[[Site], Tensor | None],
        *,
        record: Collection[str] = (),
        until: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._change = change
        self._recorded = {*record, *until}
        self._waiting = set(until)
        self.sites: dict[str, Site] = {}

    def leave(self) -> None:
        """Leave the program that is run under this handler, as if it had come to its end."""
        raise _Left(self)

    def _pyro_sample(self, msg: Any) -> None:
        value = self._change(msg)
        if value is not None:
            msg["value"], msg["done"] = value, True

    def _pyro_post_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name in self._recorded:
            self.sites[name] = dict(msg)
        if name in self._waiting:
            self._waiting.discard(name)
            if not self._waiting:
                self.leave()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        super().__exit__(kind, error, trace)
        return isinstance(error, _Left) and error.handler is self


class _Left(Exception):  # noqa: N818 - a way out, not an error
    """Carries a program's end to the handler that asked for it, past others inside."""

    def __init__(self, handler: Substitute) -> None:
        super().__init__()
        self.handler = handler
