"""Names of members, which are names of folders."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

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
