import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

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
    with pytest.raises(EOFError):
        process.submit(os._exit, 1).result()
    with pytest.raises(EOFError):
        process.submit(os.getpid).result()


def test_one_whose_module_is_broken_ends_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    process = SecondProcess("no_such_module")
    with pytest.raises(EOFError):
        process.submit(os.getpid).result()
    process.end()
    assert capfd.readouterr() == ("", "")


def test_an_answer_that_cannot_be_sent_is_told(process: SecondProcess) -> None:
    with pytest.raises(RuntimeError, match="TypeError: cannot pickle"):
        process.submit(open, os.devnull).result()
    assert process.submit(divmod, 7, 2).result() == (3, 1)


def test_a_file_of_a_user_is_no_module_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "queue", "select", "signal"):
        (tmp_path / f"{name}.py").write_text("print('not an answer')\n")
    monkeypatch.chdir(tmp_path)
    process = SecondProcess("random")
    assert process.submit(divmod, 7, 2).result() == (3, 1)
    process.end()


def test_there_is_none_where_the_module_is_there() -> None:
    with second_process("pytest") as process:
        assert process is None
    with second_process("this") as process:
        assert (process is None) == (len(os.sched_getaffinity(0)) == 1)


KILLED = """
import os
from pyro_decomp.training.second_process import SecondProcess
end = f"kill -9 {os.getpid()}; cat >/dev/null"  # to the end of what its parent writes
SecondProcess("pyro_decomp.errors").submit(os.system, end).result()
"""


def test_one_whose_parent_is_killed_ends_in_silence() -> None:
    parent = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, check=False)
    assert (parent.returncode, parent.stderr) == (-9, b"")


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
