"""Programs of tests are compiled with less care for speed, which takes a part of the time."""

from collections.abc import Iterator

import pytest

from pyro_decomp.aggregate_posterior.native import library


@pytest.fixture(scope="module")
def quickly() -> Iterator[None]:
    """Loops are still made for vectors, and functions of vectors called."""
    yield from with_effort("-O1")


@pytest.fixture(scope="module")
def hastily() -> Iterator[None]:
    """What is written is done as it is written."""
    yield from with_effort("-O0")


def with_effort(flag: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "STRICT", [f.replace("-O3", flag) for f in library.STRICT])
        yield
