"""What memory is free, and which errors are for want of it."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
LIMITS = {"Max address space": "VmSize", "Max data size": "VmData"}  # and what they limit
NO_LIMIT = 2**62  # bytes: what is this large limits nothing
FEW = 2**26  # bytes, about what a thread's stack and the first arrays on it take
SHORT = (
    r"(?i)can't allocate memory|cannot allocate memory|not enough memory|bad_alloc|out of memory|"
    r"failed to map segment"
)
ASKED = (
    r"(?i)(?:tried to allocate|unable to allocate|malloc of size|realloc of size) ([\d.]+) ?(\w+)?"
)
FREE_THERE = r"of which ([\d.]+ \w+) is free"


def free() -> int:
    """How many bytes this process can still take, as far as the system says.

    The least of what the machine has left and what its limits leave: those of the process
    (``ulimit -v``, ``-d``) and those of its control groups, which containers and batch systems set.
    """
    return max(0, min(_left(), default=NO_LIMIT))


def text(num_bytes: float) -> str:
    """Give a number of bytes in words.

    >>> text(5 * 2**29)
    '2.5 GiB'
    """
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} bytes" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.3g} EiB"


def is_short(error: BaseException) -> bool:
    """Whether an error says, in the words of Python, numpy, torch, arrow or C, that memory ended.

    That no thread can be started is for want of memory too where little of it is free.
    """
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    message = str(error)
    if isinstance(error, RuntimeError) and "can't start new thread" in message:
        return free() < FEW
    return isinstance(error, RuntimeError | ImportError) and bool(re.search(SHORT, message))


def told(error: BaseException) -> str:
    """Say of an error for want of memory how much was asked for, where it says so, and is free."""
    message = str(error)
    if isinstance(error, ImportError):
        return (
            f"not enough memory to load what is needed, and {text(free())} are free: let the "
            "process take more (`ulimit -v`, `ulimit -d`)"
        )
    asked = re.search(ASKED, message)
    there = re.search(FREE_THERE, message)  # on a GPU
    if not asked:
        return f"not enough memory: more was asked for than the {text(free())} that are free"
    amount, unit = asked.groups()
    wanted = f"{float(amount):.1f} {unit}" if unit and unit[-1] == "B" else text(float(amount))
    left = f"{there[1]} are free on the GPU" if there else f"{text(free())} are free"
    return f"not enough memory: {wanted} more were asked for, and {left}"


def _left() -> Iterator[int]:
    with suppress(OSError, ValueError, AttributeError):  # no such thing on Windows
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if sys.platform != "linux":
        return
    with suppress(OSError, KeyError, ValueError):
        yield _numbers(PROC / "meminfo")["MemAvailable"] * 1024
    with suppress(OSError, KeyError, ValueError):  # read, as importing `resource` takes memory
        held, limits = _numbers(PROC / "self" / "status"), (PROC / "self" / "limits").read_text()
        for line in limits.splitlines():
            for limit, name in LIMITS.items():
                most = line.removeprefix(limit).split()[0]
                if most.isdigit():  # of another line, or "unlimited"
                    yield int(most) - held[name] * 1024
    for folder, most_name, held_name in _control_groups():
        with suppress(OSError, KeyError, ValueError):
            held = _numbers(folder / "memory.stat")
            cached = held.get("total_inactive_file", held.get("inactive_file", 0))
            yield int((folder / most_name).read_text()) - (
                int((folder / held_name).read_text()) - cached
            )


def _control_groups() -> Iterator[tuple[Path, str, str]]:
    """Folders of the control groups that this process is in, and their files for memory."""
    lines: list[str] = []
    with suppress(OSError):
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = CONTROL_GROUPS / "memory" if controllers else CONTROL_GROUPS
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        names = names if controllers else ("memory.max", "memory.current")
        inner = root / path.lstrip("/")
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(root):
                yield folder, *names


def _numbers(path: Path) -> dict[str, int]:
    """The numbers of a file of the system by their names, in the units that it has them in."""
    lines = (line.replace(":", " ").split() for line in path.read_text().splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}
