"""Wrong command lines and calls: one clear sentence, no traceback, and nothing lost or left."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.accepted import ACCEPTED_CALLS, ACCEPTED_COMMAND_LINES
from tests.faults.calls import CALLS
from tests.faults.command_lines import COMMAND_LINES
from tests.not_yet import rows

KEPT = {"train lr1e3.py --out o"}  # what ends a run leaves its last good state
MOST_MEMORY = 1024  # MiB beside what the process has

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    root, folder = Path(__file__).parents[2], tmp_path_factory.mktemp("faults")
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.server"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin
    assert server.stdout
    before = json.loads(server.stdout.readline())["memory"]

    def answer(**asked: Any) -> dict[str, Any]:
        print(json.dumps(asked), file=server.stdin, flush=True)
        found: dict[str, Any] = json.loads(server.stdout.readline())
        found["memory"] -= before
        return found

    answer.folder = folder
    yield answer
    server.stdin.close()
    server.wait(60)
    server.stdout.close()


def assert_survived(found: dict[str, Any]) -> None:
    assert "TIMEOUT" not in found["output"]
    assert found["code"] >= 0, found["output"]  # no signal
    assert found["memory"] < MOST_MEMORY, found["output"]


@pytest.mark.parametrize("line", rows("command lines", COMMAND_LINES))
def test_a_wrong_command_line_is_one_error(line: str, ask: Ask) -> None:
    found = ask(words=shlex.split(line))
    assert_survived(found)
    if line in ACCEPTED_COMMAND_LINES:
        assert found["code"] == 0, found["output"]
        return
    assert found["code"] in {1, 2}, found["output"]
    assert "Traceback" not in found["output"]
    assert "--traceback shows" not in found["output"], found["output"]  # what was not foreseen
    told = [each for each in found["output"].splitlines() if each.lower().startswith("error")]
    assert len(told) == 1, found["output"]
    if line not in KEPT and "the table says how" not in found["output"]:  # of a sweep
        assert found["left"] == []


@pytest.mark.slow
def test_no_words_at_all_are_answered_with_help(ask: Ask) -> None:
    found = ask(words=[])
    assert found["code"] in {0, 2}
    assert "Usage" in found["output"]


@pytest.mark.parametrize("code", rows("calls", CALLS))
def test_a_wrong_call_says_what_was_expected(code: str, ask: Ask) -> None:
    found = ask(code=code)
    assert_survived(found)
    if code in ACCEPTED_CALLS:
        assert found["code"] == 0, found["output"]
        return
    assert found["code"] == 1, found["output"]
