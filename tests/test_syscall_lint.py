"""The interception table against libc: no function that takes a path, and no twin of a listed one, is left out.

What libc has is read from its dynamic symbols; which of those take paths, from the prototypes of its headers. What is
left out on purpose is in support/unlisted.toml, with the reason.
"""

import functools
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from test_syscall_exports import CSRC, libc, table_names

from vgpu_harness.shims.elf import read_elf

UNLISTED = Path(__file__).with_name("support") / "unlisted.toml"

HEADERS = [
    "aliases", "dirent", "dlfcn", "err", "error", "execinfo", "fcntl", "fnmatch", "fstab", "fts", "ftw", "glob",
    "grp", "gshadow", "iconv", "langinfo", "libgen", "libintl", "link", "locale", "mntent", "mqueue", "netdb",
    "nl_types", "pty", "pwd", "regex", "resolv", "sched", "search", "semaphore", "shadow", "signal", "spawn",
    "stdio", "stdio_ext", "stdlib", "string", "sys/acct", "sys/auxv", "sys/fanotify", "sys/file", "sys/inotify",
    "sys/ipc", "sys/mman", "sys/mount", "sys/quota", "sys/sem", "sys/shm", "sys/socket", "sys/stat", "sys/statfs",
    "sys/statvfs", "sys/swap", "sys/syscall", "sys/sysinfo", "sys/time", "sys/uio", "sys/un", "sys/vfs",
    "sys/xattr", "syslog", "time", "ttyent", "unistd", "utime", "utmp", "utmpx", "wchar", "wordexp",
]  # fmt: skip

PATHS = {
    "cat_name", "dir", "dirname", "file", "filename", "fname", "from", "from_pathname", "name", "new", "old", "path",
    "pathname", "pattern", "special", "special_file", "template", "to", "to_pathname", "words", "wtmp_file",
    "wtmpx_file",
}  # fmt: skip
"""What glibc's headers call a parameter that may be a path; some are other names, which unlisted.toml tells."""

_PROTOTYPE = re.compile(r"\b(\w+)\s*\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)\s*;")
_TEXT = re.compile(r"\bchar\s*\*\s*(?:__restrict\s+|const\s*\*\s*)?(?:__)?(\w+)")
_NOISE = re.compile(r"__attribute__\s*\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)|__asm__\s*\([^()]*\)|__extension__")


@functools.cache
def prototypes() -> dict[str, str]:
    """The parameters of each function that the headers declare, as the compiler sees them."""
    compiler = shutil.which("cc")
    assert compiler, "the C compiler cc is missing; install gcc"
    text = "".join(f"#include <{header}.h>\n" for header in HEADERS)
    command = [compiler, "-E", "-P", "-D_GNU_SOURCE", "-x", "c", "-"]
    done = subprocess.run(command, input=text, check=True, capture_output=True, text=True, timeout=60)
    return {match[1]: match[2] for match in _PROTOTYPE.finditer(_NOISE.sub(" ", done.stdout))}


@functools.cache
def exported() -> frozenset[str]:
    """Names that libc exports to programs: not those of GLIBC_PRIVATE, which are for its own libraries."""
    provided = read_elf(libc()).provided
    return frozenset(name for name, versions in provided.items() if versions != {"GLIBC_PRIVATE"})


def path_functions() -> set[str]:
    """Exported functions with a parameter that is called as paths are."""
    return {
        name
        for name, parameters in prototypes().items()
        if name in exported() and PATHS & set(_TEXT.findall(parameters))
    }


@functools.cache
def unlisted() -> dict[str, str]:
    """Why a function is not in the table, by name."""
    groups = tomllib.loads(UNLISTED.read_text(encoding="utf-8"))["group"]
    found: dict[str, str] = {}
    for group in groups:
        for name in group["functions"].split():
            assert name not in found, f"{name} is there twice"
            found[name] = group["reason"]
    return found


def twins(name: str) -> set[str]:
    """The names that glibc gives to variants of a function."""
    stem = name.removesuffix("64")
    full = {stem, f"{stem}64"}
    found = full | {f"__{one}{suffix}" for one in full for suffix in ("", "_chk", "_2")}
    found |= {f"_IO_{one}" for one in full} | {f"__libc_{one}" for one in full}
    if "stat" in stem and stem != "statx":
        found |= {f"__{one.replace('stat', 'xstat', 1)}" for one in full}
    if "mknod" in stem:
        found.add(f"__x{stem}")
    if stem.startswith("fts_"):
        found.add(stem.replace("fts_", "fts64_"))
    if stem.endswith("_r"):
        found.add(stem.replace("_r", "64_r"))
    return found


def missing_twins(names: set[str]) -> set[str]:
    """Twins of listed functions that libc exports, and that are neither listed nor declared."""
    public = {name for name in names if not name.startswith("_")}
    return {twin for name in public for twin in twins(name)} & exported() - names - set(unlisted())


def missing_functions(names: set[str]) -> set[str]:
    """Functions that take paths and are neither listed nor declared."""
    return path_functions() - names - set(unlisted())


class TestTable:
    def test_has_each_function_that_takes_a_path(self) -> None:
        """Each function of libc that takes a path is in the table, or is declared with the reason why not."""
        assert missing_functions(table_names()) == set()

    def test_has_each_twin(self) -> None:
        """Each 64, _chk, _2, __x, _IO_ or __ twin of a listed function that libc exports is listed too."""
        assert missing_twins(table_names()) == set()

    @pytest.mark.parametrize(
        "name", ["open", "statx", "glob64", "nftw", "readlinkat", "inotify_add_watch", "scandirat"]
    )
    def test_without_a_row_is_found_out(self, name: str) -> None:
        """A row that is taken away is missed: the first test can fail."""
        assert missing_functions(table_names() - {name}) == {name}

    @pytest.mark.parametrize(
        "name", ["__openat64_2", "__xstat", "_IO_fopen", "__readlink_chk", "fts64_read", "__statfs", "readdir64_r"]
    )
    def test_without_a_twin_is_found_out(self, name: str) -> None:
        """A twin that is taken away is missed: the second test can fail."""
        assert missing_twins(table_names() - {name}) == {name}


class TestUnlisted:
    def test_are_functions_of_libc(self) -> None:
        """What is declared as left out is there to be left out; a name that libc no longer has is removed."""
        assert set(unlisted()) - exported() == set()

    def test_are_not_listed(self) -> None:
        """Nothing is both in the table and declared as left out."""
        assert set(unlisted()) & table_names() == set()

    def test_would_be_missed(self) -> None:
        """Each of them is one that the rules above would ask for: the list holds nothing that it need not hold."""
        names = table_names()
        public = {twin for name in names if not name.startswith("_") for twin in twins(name)}
        assert set(unlisted()) - path_functions() - public == set()

    def test_have_reasons(self) -> None:
        """Each group says why, in a sentence."""
        assert all(len(reason.split()) >= 4 for reason in unlisted().values())


class TestDerivation:
    def test_knows_paths_of_every_shape(self) -> None:
        """Prototypes with restrict, with a directory, of arrays and of callbacks are understood."""
        expected = {"open", "statx", "glob", "ftw", "realpath", "renameat2", "mkstemp", "scandirat64", "execve"}
        assert expected <= path_functions()

    def test_leaves_out_what_takes_none(self) -> None:
        """Functions of texts that are no paths are not asked for."""
        assert not {"strlen", "puts", "fdopen", "fstat", "read", "closedir"} & path_functions()

    def test_reads_the_table_of_the_build(self) -> None:
        """The names are those of the sources that the shim is built from."""
        assert "syscall/entries/" in (CSRC / "syscall" / "syscall.def").read_text(encoding="utf-8")
