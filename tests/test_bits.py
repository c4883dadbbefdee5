"""Runs keep their bits: a change that is meant to alter them records new ones and says so."""

import json

import pytest

from tests.bits import KINDS, RECORDED, digests, machine


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    return digests()


def test_ways_that_promise_the_same_bits_keep_them(found: dict[str, str]) -> None:
    assert found["eager"] == found["captured"] == found["resumed"] == found["resumed, captured"]
    assert len(set(found.values())) == len(KINDS) - 3  # and the others have their own


@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_those_recorded(kind: str, found: dict[str, str]) -> None:
    recorded = json.loads(RECORDED.read_text())
    if machine() not in recorded:
        pytest.skip(f"no bits are recorded for {machine()}")
    assert found[kind] == recorded[machine()][kind]
