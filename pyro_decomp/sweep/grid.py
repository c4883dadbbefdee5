"""A grid of runs: the product of the values of some parameters and of seeds, and its names."""

import hashlib
import itertools
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pyro_decomp.arguments import LARGEST_SEED, plain
from pyro_decomp.errors import ExperimentError
from pyro_decomp.sweep.cli_values import split_values, unquoted
from pyro_decomp.sweep.ensemble.members import Member
from pyro_decomp.training.experiment_file import ExperimentFile

MOST_MEMBERS = 100_000


@dataclass(frozen=True)
class Grid:
    """Every combination of values, each with every seed.

    Args:
        values: Of each parameter its values, in the order given.
        seeds: The seeds.
        parameters: The names of all parameters of ``experiment``, which give the members' names
            their order.
    """

    values: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    parameters: tuple[str, ...]

    @property
    def num_combinations(self) -> int:
        """The number of combinations of values, not counting seeds."""
        return math.prod(map(len, self.values.values()))

    def members(self) -> list[Member]:
        """All members: combinations in the order given, each with all seeds in turn."""
        named = [name for name in self.parameters if name in self.values]
        found = []
        for combination in itertools.product(*self.values.values()):
            given = dict(zip(self.values, combination, strict=True))
            arguments = {name: given[name] for name in named}
            found += [Member(member_name(arguments, seed), arguments, seed) for seed in self.seeds]
        return found


def read_values(source: ExperimentFile, settings: Sequence[str]) -> dict[str, list[Any]]:
    """Read ``key=v1,v2,...`` settings as the annotations of ``experiment`` say.

    Commas inside brackets and quoted strings do not separate. Where the pieces are no values but
    the whole is one, as of ``hidden=64,32`` for a tuple, it is one value.

    Raises:
        ExperimentError: A key is unknown or given twice, or a value is not of its type.
    """
    values: dict[str, list[Any]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if key in values:
            raise ExperimentError(
                f"--set {key}: expected all its values in one --set, as {key}=1,2, got a second"
            )
        pieces = split_values(text) if equals else []
        try:
            words = [f"{key}={unquoted(piece)}" for piece in pieces] or [setting]
            values[key] = [source.parse([word])[key] for word in words]
        except ExperimentError:
            with suppress(ExperimentError):
                values[key] = [source.parse([setting])[key]]
                continue
            raise
    return values


def make_grid(
    source: ExperimentFile, values: Mapping[str, Sequence[Any]], seeds: int | Sequence[int]
) -> Grid:
    """Make a grid from values and seeds, which are checked.

    Args:
        source: The experiment file.
        values: Of each parameter its values.
        seeds: How many, from 0; or which.

    Raises:
        ExperimentError: A parameter is unknown, missing or without values, a value is of another
            type or there twice, there is no seed or a seed twice, or there are more than
            ``MOST_MEMBERS`` members.
    """
    values = {n: v.tolist() if hasattr(v, "tolist") else v for n, v in values.items()}  # arrays
    seeds = seeds if isinstance(seeds, Sequence) else plain(seeds)
    for name, given in values.items():
        if isinstance(given, str) or not isinstance(given, Sequence) or not len(given):
            raise ExperimentError(f"{name}: expected a list of at least one value, got {given!r}")
    check_number(seeds, math.prod(map(len, values.values())))
    chosen = range(seeds) if isinstance(seeds, int) else seeds
    typed: dict[str, tuple[Any, ...]] = {}
    for name, given in values.items():
        typed[name] = tuple(source.typed({name: value})[name] for value in given)
        _check_different(name, "values", [value_text(value) for value in typed[name]])
    for parameter in source.parameters:
        if parameter.required and parameter.name not in typed:
            raise ExperimentError(
                f"{source.path}: expected a value for `{parameter.name}` "
                f"({parameter.type_text}), got none; give --set {parameter.name}=..."
            )
    return Grid(typed, _checked_seeds(chosen), tuple(each.name for each in source.parameters))


def num_members(values: Mapping[str, Sequence[Any]], seeds: Sequence[int]) -> int:
    """The number of combinations of values, each with every seed."""
    return len(seeds) * math.prod(map(len, values.values()))


def check_number(seeds: int | Sequence[int], num_settings: int = 1) -> None:
    """Refuse more members than a grid may have, before any seed is looked at.

    Raises:
        ExperimentError: There are more.
    """
    try:
        number = seeds if isinstance(seeds, int) else len(seeds)
    except OverflowError:  # of a range
        number = sys.maxsize
    number *= num_settings
    if number > MOST_MEMBERS:
        raise ExperimentError(f"expected at most {MOST_MEMBERS} members, got {number}")


def _checked_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    if not len(seeds):
        raise ExperimentError("seeds: expected at least one, got none")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
            raise ExperimentError(
                f"seeds: expected whole numbers from 0 to {LARGEST_SEED}, got {seed!r}"
            )
    _check_different("seeds", "seeds", [str(seed) for seed in seeds])
    return tuple(seeds)


def _check_different(name: str, kind: str, texts: Sequence[str]) -> None:
    if len(set(texts)) < len(texts):
        twice = next(text for text, count in Counter(texts).items() if count > 1)
        raise ExperimentError(f"{name}: expected different {kind}, got {twice} twice")


LONGEST = 200  # bytes; file systems take 255


def member_name(arguments: Mapping[str, Any], seed: int) -> str:
    """Name a member by its arguments and seed.

    >>> member_name({"alpha": 1.0, "hidden": (64, 32), "data": "a/b"}, 3)
    'alpha=1,hidden=[64,32],data=a%2Fb,seed=3'
    """
    pairs = [f"{name}={value_text(value)}" for name, value in arguments.items()]
    name = ",".join([*pairs, f"seed={seed}"])
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    tail = f",{digest},seed={seed}"
    return name[: LONGEST - len(tail)] + tail


def value_text(value: Any) -> str:
    """Write a value without what a file name cannot hold, unlike for unlike values of one type.

    >>> [value_text(value) for value in (0.01, 1.0, True, None, "one, two")]
    ['0.01', '1', 'true', 'none', 'one%2C%20two']
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, list | tuple):
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
        return quote(text, safe="[],+")
    return quote(str(value), safe="+")
