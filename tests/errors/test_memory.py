import errno
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pyro_decomp.errors import memory, one_line

TOO_MANY = 2**56  # float64, that no machine has room for


def failure(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("expected want of memory")


WANT = {
    "numpy": (lambda: np.ones(TOO_MANY), "512.0 PiB more were asked for"),
    "torch": (lambda: torch.ones(TOO_MANY, dtype=torch.float64), "512.0 PiB more were asked for"),
    "arrow": (lambda: pa.allocate_buffer(TOO_MANY * 8), "512.0 PiB more were asked for"),
    "python": (lambda: bytearray(2**62), "more was asked for than"),
}


@pytest.mark.parametrize(("function", "said"), WANT.values(), ids=WANT)
def test_want_of_memory_is_told_as_such_whoever_says_it(
    function: Callable[[], object], said: str
) -> None:
    error = failure(function)
    assert memory.is_short(error)
    assert one_line(error).startswith(f"not enough memory: {said}")


SHORT = [
    RuntimeError("std::bad_alloc"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    ImportError("libtorch.so: failed to map segment from shared object"),
]


@pytest.mark.parametrize("error", SHORT, ids=str)
def test_other_words_for_it_are_known(error: Exception) -> None:
    assert memory.is_short(error)


def test_other_errors_are_not_blamed_on_memory() -> None:
    others = [ValueError("out of memory"), RuntimeError("size mismatch"), OSError(2, "gone")]
    assert not any(map(memory.is_short, others))
    assert one_line(others[1]) == "RuntimeError: size mismatch"


def test_what_a_gpu_has_is_told() -> None:
    message = (
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.80 GiB "
        "of which 3.00 GiB is free."
    )
    said = memory.told(torch.OutOfMemoryError(message))
    assert said == (
        "not enough memory: 20.0 GiB more were asked for, and 3.00 GiB are free on the GPU"
    )


def test_a_limit_of_the_process_is_what_is_free() -> None:
    before = memory.free()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("VmSize:")[2].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**28, limits[1]))
    try:
        assert memory.free() <= 2**28 < before
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("version", [1, 2])
def test_the_least_limit_of_the_control_groups_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("3:cpu,memory:/a/b\n" if version == 1 else "0::/a/b\n")
    root = groups / "memory" if version == 1 else groups
    most, held, cached = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    for folder, limit in (("a", "1000"), ("a/b", "max")):
        (root / folder).mkdir(parents=True)
        (root / folder / most).write_text(f"{limit}\n")
        (root / folder / held).write_text("700\n")
        (root / folder / "memory.stat").write_text(f"anon 600\n{cached} 100\n")
    monkeypatch.setattr(memory, "PROC", proc)
    monkeypatch.setattr(memory, "CONTROL_GROUPS", groups)
    assert memory.free() == 1000 - (700 - 100)
