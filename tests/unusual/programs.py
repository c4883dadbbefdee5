"""Every unusual program without state of its own, by its name."""

from collections.abc import Callable

from tests.unusual.base import Usual
from tests.unusual.guides import GUIDES
from tests.unusual.likelihoods import LIKELIHOODS
from tests.unusual.networks import NETWORKS
from tests.unusual.structures import STRUCTURES

PROGRAMS: dict[str, Callable[[], Usual]] = {**STRUCTURES, **GUIDES, **LIKELIHOODS, **NETWORKS}
