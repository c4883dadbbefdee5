import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pyro_decomp.training.second_process import SecondProcess, second_process

pytestmark = pytest.mark.full
LIGHT = "pyro_decomp.errors"


@pytest.fixture
def process() -> Iterator[SecondProcess]:
    process = SecondProcess(LIGHT)
    yield process
    process.end()


def test_calls_are_made_in_their_order(process: SecondProcess) -> None:
    assert process.is_idle
    calls = [process.submit(divmod, 7, number) for number in (2, 3)]
    assert [call.result() for call in calls] == [(3, 1), (2, 1)]
    assert process.is_idle
    assert process.submit(os.getpid).result() != os.getpid()


def test_what_is_raised_there_is_raised_here(process: SecondProcess) -> None:
    with pytest.raises(ZeroDivisionError, match="division"):
        process.submit(divmod, 7, 0).result()
    assert process.submit(divmod, 7, 1).result() == (7, 0)


def test_what_is_printed_there_is_no_answer(process: SecondProcess) -> None:
    assert process.submit(print, "printed").result() is None
    assert process.submit(divmod, 7, 2).result() == (3, 1)


def test_one_that_has_died_says_so(process: SecondProcess) -> None:
    with pytest.raises((EOFError, OSError)):
        process.submit(os._exit, 1).result()
    with pytest.raises((EOFError, OSError)):
        process.submit(os.getpid).result()


def test_there_is_none_where_the_module_is_there() -> None:
    with second_process("pytest") as process:
        assert process is None
    with second_process("this") as process:
        assert (process is None) == (len(os.sched_getaffinity(0)) == 1)


PARENT = f"""
import os, signal
from pyro_decomp.training.second_process import SecondProcess
print(SecondProcess({LIGHT!r}).submit(os.getpid).result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_does_not_outlive_its_parent() -> None:
    parent = subprocess.run(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, check=False
    )
    child = int(parent.stdout)
    while True:  # until it is gone, which pytest would end by its limit
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
