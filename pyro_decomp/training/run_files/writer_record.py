"""Which process writes into a folder: what the file there says of it, and whether it still runs."""

import json
import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from platform import node


@dataclass(frozen=True)
class Record:
    """What a lock says of its writer.

    Args:
        host: The name of its machine, for people.
        machine: Which machine, since which start of it.
        namespace: In which namespace its number counts; empty where that is not known.
        pid: The number of the process.
        started: When it started, in the machine's ticks, which tells it from another of its number.
        since: When it began to write, in UTC.
        token: Tells this writing from any other.
    """

    host: str
    machine: str
    namespace: str
    pid: int
    started: str
    since: str
    token: str

    @classmethod
    def own(cls) -> "Record":
        """That of this process, from now on."""
        pid, token = os.getpid(), os.urandom(8).hex()
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        return cls(node(), _machine(), _namespace(), pid, started(pid), since, token)

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """That in a file; None where there is none, or none that can be read."""
        try:
            return cls.parsed(path.read_bytes())
        except OSError:
            return None

    @classmethod
    def parsed(cls, content: bytes) -> "Record | None":
        """That which a file holds; None where it holds no record, or half of one."""
        try:
            found = cls(**json.loads(content))
            return found if isinstance(found.pid, int) and found.host.isprintable() else None
        except (ValueError, TypeError, AttributeError):
            return None

    @property
    def is_here(self) -> bool:
        """Whether its writer is, or was, on this machine since that was last started."""
        return self.machine == _machine()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@cache
def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        from uuid import getnode  # noqa: PLC0415 (may ask other programs)

        return f"{node()} {getnode()}"


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def started(pid: int) -> str:
    """When a process of this machine started; empty if there is none, or a dead one."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]
