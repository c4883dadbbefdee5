import ctypes
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_decomp.aggregate_posterior.native import library as module

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)
RUN = module._run
COUNT = "#ifndef START\n#define START 0\n#endif\nint count(int x) { return START + x; }\n"


def load(source: Path, *defined: str) -> ctypes.CDLL | None:
    return module.library.__wrapped__(source, *defined)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    module._tell.cache_clear()
    return tmp_path / "cache" / "pyro_decomp"


def test_where_there_is_no_home_it_says_so(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr(module, "_compiler", lambda: ["cc"])
    assert module.why_not.__wrapped__().endswith("XDG_CACHE_HOME names another")
    assert load(source) is None
    assert "XDG_CACHE_HOME names another" in caplog.text


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "count.c"
    path.write_text(COUNT)
    return path


@needs_compiler
class TestWithACompiler:
    def test_a_source_is_compiled_once(self, source: Path, cache: Path) -> None:
        assert load(source).count(3) == 3
        (built,) = cache.iterdir()
        first = built.stat()
        assert load(source).count(4) == 4
        assert built.stat().st_mtime_ns == first.st_mtime_ns
        assert list(cache.iterdir()) == [built]

    @pytest.mark.parametrize("where", ["told by Linux", "asked of the compiler"])
    def test_the_next_process_starts_no_compiler_that_it_need_not(
        self, where: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = where.startswith("asked")
        if asked:
            monkeypatch.setattr(module, "PROCESSORS", tmp_path / "nothing")
        elif not module._processor():
            pytest.skip("the system does not tell its processor's instructions")
        for compiled in (1, 0):
            module._predefined.cache_clear()
            started: list[list[str]] = []

            def run(command: list[str], started: list[list[str]] = started) -> bytes:
                started.append(command)
                return RUN(command)

            monkeypatch.setattr(module, "_run", run)
            assert load(source).count(3) == 3
            assert len(started) == compiled + asked

    def test_another_processor_or_compiler_is_compiled_for(
        self, source: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number, flags in enumerate(("sse", "sse avx")):
            told = tmp_path / flags
            told.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
            monkeypatch.setattr(module, "PROCESSORS", told)
            assert load(source).count(1) == 1
            assert len(list(cache.iterdir())) == number + 1
        told.write_text(told.read_text().replace("\n\n", "\ncpu MHz\t\t: 2000.1\n\n"))
        assert load(source).count(1) == 1
        assert len(list(cache.iterdir())) == 2
        compiler = tmp_path / "cc"
        monkeypatch.setenv("CC", f"'{compiler}'")
        for number in (3, 4):
            compiler.write_text(f'#!/bin/sh\nexec cc "$@" # {"x" * number}\n')
            compiler.chmod(0o755)
            assert load(source).count(1) == 1
            assert len(list(cache.iterdir())) == number

    def test_each_text_and_each_definition_is_its_own(self, source: Path, cache: Path) -> None:
        assert load(source, "START=10").count(1) == 11
        assert load(source).count(1) == 1
        source.write_text(COUNT.replace("+ x", "- x"))
        assert load(source).count(1) == -1
        assert len(list(cache.iterdir())) == 3

    def test_the_oldest_of_too_many_go(
        self, source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MOST_KEPT", 2)
        built = []
        for start in range(3):
            assert load(source, f"START={start}").count(1) == start + 1
            (new,) = set(cache.iterdir()) - set(built)
            os.utime(new, (start, start))
            built.append(new)
        assert set(cache.iterdir()) == set(built[1:])

    def test_a_broken_library_is_made_anew(self, source: Path, cache: Path) -> None:
        assert load(source, "START=2").count(1) == 3
        (built,) = cache.iterdir()
        built.unlink()
        built.write_bytes(b"not a library")
        assert load(source, "START=2").count(1) == 3

    @pytest.mark.full
    def test_processes_at_once(self, source: Path, cache: Path) -> None:
        program = (
            "import sys; from pathlib import Path;"
            "from pyro_decomp.aggregate_posterior.native.library import library;"
            "sys.stdin.read(1); print(library(Path(sys.argv[1])).count(5))"
        )
        together = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(source)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for process in together:
            process.stdin.write("x")
            process.stdin.flush()
        assert [process.communicate()[0] for process in together] == ["5\n"] * 4
        assert len(list(cache.iterdir())) == 1  # nothing half made is left

    def test_a_compiler_that_knows_no_native_processor(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compiler = tmp_path / "plain compiler"
        compiler.write_text(
            '#!/bin/sh\nfor word; do [ "$word" = -march=native ] && exit 1; done\n'
            f'exec {module._compiler()[0]} "$@"\n'
        )
        compiler.chmod(0o755)
        monkeypatch.setenv("CC", f"'{compiler}' -DSTART=7")
        assert load(source).count(1) == 8

    def test_a_source_that_is_wrong(self, source: Path, caplog: pytest.LogCaptureFixture) -> None:
        source.write_text("int count(int x) { return y; }\n")
        assert load(source) is None
        assert "the C compiler failed: " in caplog.text

    def test_no_place_to_keep_it(
        self, source: Path, cache: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache.parent.write_text("a file where the folder would be")
        assert load(source) is None
        assert str(cache) in caplog.text


def test_without_a_compiler_one_sentence_says_so(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert load(source) is None
    assert load(source, "START=1") is None
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("pyro_decomp", logging.WARNING)
    assert record.getMessage() == (
        "Pairs of data are summed by torch, several times slower: "
        "no C compiler (cc, gcc or clang) was found"
    )
