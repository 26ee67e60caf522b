"""Programs with another malloc beside the shims, and programs under AddressSanitizer, do the same as without the shims.

VGPU_UNNOTICED_ALLOCATORS names a folder with the libraries of Debian's packages libjemalloc2, libtcmalloc-minimal4 and
libmimalloc2.0. An allocator looks at files while it starts, before any constructor and inside a first malloc.
"""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from both import SHIMS, Both, first_uses, require_an_ordinary_user
from material import lay_out
from support.compile import compile_program

from vgpu_harness.host import Host
from vgpu_harness.trace import Library

ALLOCATORS = ("libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2.0")
PATIENCE = 60.0
VENDOR = "/sys/bus/pci/devices/0000:00:05.0/vendor"
COMMANDS = [
    "sort -r @/words.txt",
    "bash -c 'for f in @/*.txt; do cat < $f > /dev/null; done; echo $(ls @/tree | wc -l)'",
    "perl -e 'open F, \"<@/words.txt\"; print reverse <F>; print `cat @/numbers.txt`'",
    'python3 -c \'import os, subprocess, tempfile; print(os.listdir("@/tree"), subprocess.run(["true"]).returncode)\'',
    'node -e \'console.log(require("fs").readFileSync("@/words.txt", "utf8"))\'',
    "sqlite3 @/new.db 'create table t (a); insert into t values (1), (2); select sum(a) from t'",
    "git grep --no-index -n a tree",
    "gcc -c -o hello.o @/hello.c",
    "make -f @/rules.mk all",
]

SOURCE = Path(__file__).with_name("busy.c")


@pytest.fixture
def both(tmp_path: Path) -> Both:
    """Folders for one command line."""
    require_an_ordinary_user()
    return Both(tmp_path, lay_out)


@pytest.fixture(params=ALLOCATORS)
def allocator(request: pytest.FixtureRequest) -> Path:
    """One of the libraries."""
    path = Path(os.environ["VGPU_UNNOTICED_ALLOCATORS"], request.param)
    assert path.is_file(), path
    return path


def ordered(first: str, other: Path) -> Host:
    """The default host, with a library before or after the shims."""
    shims = Host().delivery.preload
    preload = (str(other), *shims) if first == "allocator" else (*shims, str(other))
    return Host.model_validate({"delivery": {"preload": preload}})


@pytest.mark.parametrize("first", ["allocator", "shims"])
class TestAllocators:
    @pytest.mark.parametrize("line", COMMANDS)
    def test_change_nothing_of_the_comparison(self, both: Both, allocator: Path, first: str, line: str) -> None:
        """A command line does the same with allocator and shims, in either order, as with the allocator alone."""
        argv = shlex.split(line.replace("@/", f"{both.work}/"))
        plain = both.plain(argv, {"LD_PRELOAD": str(allocator)}, PATIENCE)
        assert plain.status == (2 if argv[0] == "make" else 0), plain
        shimmed, run = both.shimmed(argv, {}, PATIENCE, host=ordered(first, allocator))
        assert not plain.differences(shimmed)
        assert len(run.preload) == SHIMS + 1
        assert {library for _, library in first_uses(run)} & {Library.SYSCALL, Library.EXEC}

    def test_are_borne_by_threads_and_forks(self, both: Both, allocator: Path, first: str) -> None:
        """Four threads and ten forked children allocate, and look at ordinary files and the GPU's, at once."""
        busy = compile_program(SOURCE.read_text(), "busy", "-pthread")
        argv = [str(busy), str(both.work / "words.txt"), VENDOR]
        shimmed, _ = both.shimmed(argv, {}, PATIENCE, host=ordered(first, allocator))
        assert (shimmed.status, shimmed.stdout, shimmed.stderr) == (0, b"wrong 0 listed 1\n", b"")


class TestAddressSanitizer:
    FLAGS = ("-pthread", "-fsanitize=address", "-fno-omit-frame-pointer")

    def library(self) -> Path:
        """The sanitizer's own, which wants to be the first."""
        command = ["cc", "-print-file-name=libasan.so"]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
        return Path(said.strip()).resolve()

    @pytest.mark.parametrize("way", ["first", "unordered"])
    def test_finds_nothing_in_the_shims(self, both: Both, way: str) -> None:
        """Threads, then forks, under all shims: no report, and the GPU is seen, by either remedy for the order."""
        busy = compile_program(SOURCE.read_text(), "busy", *self.FLAGS)
        host = ordered("allocator", self.library()) if way == "first" else Host()
        env = {"ASAN_OPTIONS": "detect_leaks=0" + ":verify_asan_link_order=0" * (way == "unordered")}
        argv = [str(busy), str(both.work / "words.txt"), VENDOR, "apart"]
        shimmed, _ = both.shimmed(argv, env, PATIENCE, host=host)
        assert (shimmed.status, shimmed.stdout, shimmed.stderr) == (0, b"wrong 0 listed 1\n", b"")

    def test_still_finds_what_is_wrong(self, both: Both) -> None:
        """A write behind a block is reported under the shims: the sanitizer is at work in these runs."""
        busy = compile_program(SOURCE.read_text(), "busy", *self.FLAGS)
        argv = [str(busy), str(both.work / "words.txt"), VENDOR, "hurt"]
        shimmed, _ = both.shimmed(
            argv, {"ASAN_OPTIONS": "detect_leaks=0"}, PATIENCE, host=ordered("allocator", self.library())
        )
        assert shimmed.status == 1
        assert b"heap-buffer-overflow" in shimmed.stderr


def test_the_comparison_can_fail(both: Both) -> None:
    """Threads and forks without the shims do not see the GPU: what the others print is not said in any case."""
    busy = compile_program(SOURCE.read_text(), "busy", "-pthread")
    plain = both.plain([str(busy), str(both.work / "words.txt"), "/proc/driver/nvidia/version"], {}, PATIENCE)
    assert plain.status == 1
    assert plain.stdout.startswith(b"wrong 1")
