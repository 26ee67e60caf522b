"""The table of functions against the library that is built from it, and against the C library it stands in front of."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection
from test_syscall_exports import libc, relocated_names

from vgpu_harness.shims import shim_path

CSRC = Path(__file__).resolve().parent.parent / "csrc"
TABLE = CSRC / "exec" / "exec.def"
PRINT = """
#define VGPU_EXEC(type, name, parameters, arguments) name "" ""
#define VGPU_EXEC_LIST(type, name, parameters, last, plain, plain_arguments) name "" ""
#define VGPU_EXEC_AT(type, name, parameters, arguments, symbol, mark, version) symbol mark #version
#include "exec/exec.def"
"""
CLAIMED = {
    "execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "fexecve", "execveat", "posix_spawn",
    "posix_spawnp", "system", "popen", "_IO_popen",
}  # fmt: skip

Symbol = tuple[str, str, str]
"""Name, "@@" or "@" or "", version."""


def table(csrc: Path = CSRC) -> set[Symbol]:
    """The rows of the table, as the C preprocessor sees them."""
    compiler = shutil.which("cc")
    assert compiler, "the C compiler cc is missing; install gcc"
    command = [compiler, "-E", "-P", "-x", "c", "-I", str(csrc), "-"]
    text = subprocess.run(command, input=PRINT, check=True, capture_output=True, text=True, timeout=30).stdout
    return set(re.findall(r'(\w+) "(@*)" "([\w.]*)"', text))


def exported(library: Path) -> set[Symbol]:
    """The functions that a library defines, each with its version; those of the version nodes themselves left out."""
    with library.open("rb") as stream:
        elf = ELFFile(stream)
        symbols = elf.get_section_by_name(".dynsym")
        numbers = elf.get_section_by_name(".gnu.version")
        nodes = elf.get_section_by_name(".gnu.version_d")
        assert isinstance(symbols, SymbolTableSection)
        assert isinstance(numbers, GNUVerSymSection)
        assert isinstance(nodes, GNUVerDefSection)
        names = {node["vd_ndx"]: next(iter(names)).name for node, names in nodes.iter_versions()}
        found: set[Symbol] = set()
        for i, symbol in enumerate(symbols.iter_symbols()):
            if symbol.name and symbol["st_shndx"] not in {"SHN_UNDEF", "SHN_ABS"}:
                number = numbers.get_symbol(i)["ndx"]
                if not isinstance(number, int):  # VER_NDX_GLOBAL
                    found.add((symbol.name, "", ""))
                else:
                    found.add((symbol.name, "@" if number & 0x8000 else "@@", names[number & 0x7FFF]))
        return found


@pytest.fixture(scope="module")
def library() -> Path:
    """The built shim."""
    return shim_path("exec")


class TestExports:
    def test_are_those_of_the_table(self, library: Path) -> None:
        """The library exports exactly the rows of the table, version by version: no helper, no forgotten one."""
        assert exported(library) == table()

    def test_are_those_that_are_claimed(self) -> None:
        """The table has the functions that the manual claims, each once, and both versions of the two that have two."""
        rows = table()
        assert {name for name, _, _ in rows} == CLAIMED
        assert len(rows) == len(CLAIMED) + 2
        manual = (CSRC.parent / "docs" / "exec.md").read_text(encoding="utf-8")
        assert {name for name in CLAIMED if f"`{name}`" not in manual} == set()

    @pytest.mark.parametrize(
        ("row", "changed"),
        [
            ("VGPU_EXEC(int, execv,", "VGPU_EXEC(int, execw,"),
            ('posix_spawnp, "@", GLIBC_2.2.5)', 'posix_spawnp, "@", GLIBC_2.2)'),
        ],
    )
    def test_of_a_changed_row_differ(self, library: Path, tmp_path: Path, row: str, changed: str) -> None:
        """A table with one row changed no longer agrees with the library: the comparison above can fail."""
        (tmp_path / "exec").mkdir()
        text = TABLE.read_text(encoding="utf-8")
        assert row in text
        (tmp_path / "exec" / "exec.def").write_text(text.replace(row, changed), encoding="utf-8")
        assert len(exported(library) ^ table(tmp_path)) == 2

    def test_are_never_called_by_the_library_itself(self, library: Path) -> None:
        """No relocation asks for a name of the table: no call of the shim's own goes through the shim again."""
        names = set(relocated_names(library))
        assert names & CLAIMED == set()
        assert {"environ", "_r_debug"} <= names

    def test_ask_nobody_for_memory_or_symbols(self, library: Path) -> None:
        """The library's own objects call no malloc and no dlsym: calloc and free are of a test's own process state."""
        names = set(relocated_names(library))
        assert names & {"malloc", "realloc", "dlsym", "dlvsym", "pthread_mutex_lock", "getenv"} == set()

    def test_are_all_in_libc_with_their_versions(self) -> None:
        """Each name is one of libc's, and each version that the table gives is one that libc has of it."""
        theirs = exported(libc())
        assert {name for name, _, _ in theirs} >= CLAIMED
        assert {symbol for symbol in table() if symbol[2]} <= theirs

    def test_leave_out_no_version_and_no_alias(self) -> None:
        """Of what libc has in several versions all are listed; a public second name of a listed function is, too."""
        theirs = exported(libc())
        listed = {name: {version for at, _, version in table() if at == name} for name in CLAIMED}
        versions = {name: {version for at, _, version in theirs if at == name} for name in CLAIMED}
        assert {name for name, found in versions.items() if len(found) > 1 and found != listed[name]} == set()
        with libc().open("rb") as stream:
            symbols = ELFFile(stream).get_section_by_name(".dynsym")
            assert isinstance(symbols, SymbolTableSection)
            places = {symbol.name: symbol["st_value"] for symbol in symbols.iter_symbols()}
        private = {name for name, _, version in theirs if version == "GLIBC_PRIVATE"}
        values = {places[name] for name in CLAIMED}
        assert {name for name, value in places.items() if value in values} - CLAIMED - private == set()


class TestLibrary:
    def test_runs_nothing_when_loaded(self, library: Path) -> None:
        """There is no constructor: the only entry of init_array is the compiler's own frame_dummy."""
        with library.open("rb") as stream:
            dynamic = next(s for s in ELFFile(stream).iter_sections() if isinstance(s, DynamicSection))
            sizes = {tag.entry.d_tag: tag.entry.d_val for tag in dynamic.iter_tags()}
        assert sizes.get("DT_INIT_ARRAYSZ", 0) <= 8
        assert sizes.get("DT_PREINIT_ARRAYSZ", 0) == 0

    def test_takes_little_thread_storage(self, library: Path) -> None:
        """Its thread-local storage is at most 32 bytes: initial-exec space is scarce where a library is opened late."""
        with library.open("rb") as stream:
            sizes = [segment["p_memsz"] for segment in ELFFile(stream).iter_segments("PT_TLS")]
        assert 0 < sum(sizes) <= 32
