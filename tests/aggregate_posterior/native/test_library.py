import ctypes
import errno
import logging
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_decomp.aggregate_posterior.native import code_cache
from pyro_decomp.aggregate_posterior.native import library as module

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)
as_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives files away"
)
RUN = module._run
COUNT = "#ifndef START\n#define START 0\n#endif\nint count(int x) { return START + x; }\n"


def overwrite(built: Path, content: bytes) -> None:
    """Another content in the place of a file: what is loaded of the old one stays whole."""
    built.unlink()
    built.write_bytes(content)


def linked(built: Path, other: Path) -> None:
    elsewhere = built.with_name("elsewhere")
    built.rename(elsewhere)
    built.symlink_to(elsewhere)


def flipped(built: Path, other: Path) -> None:
    content = bytearray(built.read_bytes())
    content[len(content) // 2] ^= 1
    overwrite(built, bytes(content))


def replaced_by_a_pipe(built: Path, other: Path) -> None:
    built.unlink()
    os.mkfifo(built)


DAMAGED: dict[str, Callable[[Path, Path], object]] = {
    "no library": lambda built, other: overwrite(built, b"not a library"),
    "empty": lambda built, other: overwrite(built, b""),
    "truncated": lambda built, other: overwrite(built, built.read_bytes()[:-100]),
    "of one flipped bit": flipped,
    "that of another source": lambda built, other: overwrite(built, other.read_bytes()),
    "a link": linked,
    "a pipe": replaced_by_a_pipe,
    "writable by others": lambda built, other: built.chmod(0o622),
}


def shared(cache: Path) -> str:
    cache.mkdir()
    cache.chmod(0o777)
    return f"others can write to {cache} (chmod go-w {cache})"


def below_shared(cache: Path) -> str:
    cache.parent.chmod(0o777)
    return f"others can write to {cache.parent} (chmod go-w {cache.parent})"


def link_to_elsewhere(cache: Path) -> str:
    elsewhere = cache.parent / "elsewhere"
    elsewhere.mkdir()
    cache.symlink_to(elsewhere)
    return f"{cache} is a link to another folder; XDG_CACHE_HOME names another folder"


def file_in_its_place(cache: Path) -> str:
    cache.write_text("a file where the folder would be")
    return f"{cache} cannot be used (File exists); XDG_CACHE_HOME names another folder"


UNUSABLE: dict[str, Callable[[Path], str]] = {
    "others can write to it": shared,
    "others can write to the one above": below_shared,
    "a link": link_to_elsewhere,
    "a file": file_in_its_place,
}


def num_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def load(source: Path, *defined: str) -> ctypes.CDLL | None:
    return module.library.__wrapped__(source, *defined)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    module._warn.cache_clear()
    return tmp_path / "cache" / "pyro_decomp"


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
        monkeypatch.setattr(code_cache, "MOST_KEPT", 2)
        built = []
        for start in range(3):
            assert load(source, f"START={start}").count(1) == start + 1
            (new,) = set(cache.iterdir()) - set(built)
            os.utime(new, (start, start))
            built.append(new)
        assert set(cache.iterdir()) == set(built[1:])

    @pytest.mark.full(but=["of one flipped bit"])
    @pytest.mark.parametrize("how", [*DAMAGED, pytest.param("another owner's", marks=as_root)])
    def test_what_is_not_as_it_was_written_is_made_anew(
        self, how: str, source: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert load(source, "START=3").count(1) == 4
        (other,) = cache.iterdir()
        assert load(source, "START=2").count(1) == 3
        (built,) = set(cache.iterdir()) - {other}
        whole = built.read_bytes()
        if how == "another owner's":
            os.chown(built, 12345, -1)
        else:
            DAMAGED[how](built, other)
        assert load(source, "START=2").count(1) == 3
        assert built.read_bytes() == whole
        assert stat.S_IMODE(built.lstat().st_mode) == 0o600
        assert not caplog.records

    @pytest.mark.full
    def test_handles_do_not_grow_and_no_library_is_taken_for_another(self, source: Path) -> None:
        libraries, handles = [], []
        for start in range(4):
            libraries.append(load(source, f"START={start}"))
            handles.append(num_handles())
        assert [library.count(1) for library in libraries] == [1, 2, 3, 4]
        assert len(set(handles[1:])) == 1

    @pytest.mark.full
    def test_where_nothing_can_be_loaded_from_memory(
        self, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(name: str) -> int:
            raise PermissionError(f"memory of {name} is not executable")

        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
        assert [load(source, f"START={start}").count(1) for start in (0, 1, 0)] == [1, 2, 1]
        assert not list(code_cache.temporary().iterdir())

    @pytest.mark.full(but=["others can write to it"])
    @pytest.mark.parametrize("how", [*UNUSABLE, pytest.param("another owner's", marks=as_root)])
    def test_a_folder_that_is_not_the_users_alone_is_not_used(
        self, how: str, source: Path, cache: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache.parent.mkdir(mode=0o700)
        if how == "another owner's":
            cache.mkdir()
            os.chown(cache, 12345, -1)
            expected = f"{cache} belongs to another user; XDG_CACHE_HOME names another folder"
        else:
            expected = UNUSABLE[how](cache)
        assert load(source).count(1) == 1
        assert load(source, "START=1").count(1) == 2
        (record,) = caplog.records
        assert record.getMessage().startswith("what is compiled is compiled again by every process")
        assert expected in record.getMessage()
        assert not cache.is_dir() or not list(cache.iterdir())
        assert not module.why_not.__wrapped__()

    @pytest.mark.full
    def test_what_helps_helps(self, source: Path, cache: Path) -> None:
        cache.parent.mkdir(mode=0o700)
        UNUSABLE["others can write to it"](cache)
        cache.chmod(0o755)
        assert load(source).count(1) == 1
        assert len(list(cache.iterdir())) == 1

    @pytest.mark.full
    def test_folders_are_made_for_the_user_alone(self, source: Path, cache: Path) -> None:
        before = os.umask(0)
        try:
            assert load(source).count(1) == 1
        finally:
            os.umask(before)
        for each in (cache, cache.parent):
            assert stat.S_IMODE(each.stat().st_mode) == 0o700
        assert code_cache.read(next(cache.iterdir()), "another key") is None

    @pytest.mark.full
    def test_what_killed_processes_left_goes(self, source: Path, cache: Path) -> None:
        assert load(source).count(1) == 1
        for name, age in ((".a.so.tmp", 0), (".b.so.tmp", 10**6)):
            (cache / name).touch()
            os.utime(cache / name, (0, time.time() - age))
        assert load(source, "START=1").count(1) == 2
        assert [path.name for path in cache.glob(".*")] == [".a.so.tmp"]

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

    @pytest.mark.full(but=["echo*"])
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("nosuchcompiler", "got 'nosuchcompiler'; cc is used instead"),
            ("'", 'got "\'"; cc is used instead'),
            ("echo", "echo is no C compiler: it ended well and made no library"),
            ("cc -E", "cc -E made a library that cannot be loaded"),
            ("cc -nonsense", "the C compiler failed"),
        ],
    )
    def test_absurd_compilers(
        self, words: str, said: str, source: Path, cache: Path, request: pytest.FixtureRequest
    ) -> None:
        monkeypatch = request.getfixturevalue("monkeypatch")
        caplog = request.getfixturevalue("caplog")
        monkeypatch.setenv("CC", words)
        found = load(source)
        (record,) = caplog.records
        assert said in record.getMessage()
        assert (found is not None) == ("instead" in said)
        assert len(list(cache.iterdir())) == ("instead" in said)

    def test_a_compiler_that_hangs(
        self,
        source: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        compiler = tmp_path / "hangs"
        compiler.write_text("#!/bin/sh\nexec sleep 60\n")
        compiler.chmod(0o755)
        monkeypatch.setenv("CC", str(compiler))
        monkeypatch.setattr(module, "SECONDS", 0.01)
        assert load(source) is None
        assert "the C compiler took more than 0.01 seconds" in caplog.text


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


@pytest.mark.full
@pytest.mark.parametrize("why", ["no home", "read-only", "no place left"])
@needs_compiler
def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(
    why: str, source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    def write(path: Path, content: bytes) -> None:
        raise OSError(number, os.strerror(number))

    if why == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", home)
        expected = "there is no home folder; XDG_CACHE_HOME names another folder"
    else:
        number = errno.EROFS if why == "read-only" else errno.ENOSPC
        monkeypatch.setattr(code_cache, "write_whole", write)
        expected = f"cannot be written ({os.strerror(number)})"
    assert [load(source, f"START={start}").count(1) for start in (1, 2)] == [2, 3]
    assert expected in caplog.records[0].getMessage()
