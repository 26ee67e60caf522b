"""The interception table against the library that is built from it, and against the C library it stands in front of."""

import ctypes.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from vgpu_harness.shims import shim_path

CSRC = Path(__file__).resolve().parent.parent / "csrc"
TABLE = CSRC / "syscall" / "syscall.def"


def version_script(csrc: Path) -> str:
    """The linker's version script, made as the build makes it."""
    compiler = shutil.which("cc")
    assert compiler, "the C compiler cc is missing; install gcc"
    command = [compiler, "-E", "-P", "-x", "c", "-I", str(csrc), str(csrc / "syscall" / "exports.map.in")]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def table_names(csrc: Path = CSRC) -> set[str]:
    """The functions of the interception table."""
    listed = re.search(r"global:(.*)local:", version_script(csrc), re.DOTALL)
    assert listed
    return set(listed[1].replace(";", " ").split())


def dynamic_symbols(library: Path, *, defined: bool) -> set[str]:
    """Names in the dynamic symbol table that the library defines, or asks others for."""
    with library.open("rb") as stream:
        symbols = ELFFile(stream).get_section_by_name(".dynsym")
        assert isinstance(symbols, SymbolTableSection)
        return {
            symbol.name
            for symbol in symbols.iter_symbols()
            if symbol.name and (symbol["st_shndx"] != "SHN_UNDEF") == defined
        }


def relocated_names(library: Path) -> Iterator[str]:
    """The symbol of each relocation that has one: what the dynamic linker binds by name."""
    with library.open("rb") as stream:
        elf = ELFFile(stream)
        symbols = elf.get_section_by_name(".dynsym")
        assert isinstance(symbols, SymbolTableSection)
        for section in elf.iter_sections():
            if isinstance(section, RelocationSection):
                for relocation in section.iter_relocations():
                    if name := symbols.get_symbol(relocation["r_info_sym"]).name:
                        yield name


def libc() -> Path:
    """The C library of this process."""
    name = ctypes.util.find_library("c")
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        path = Path(line.split()[-1])
        if path.name == name:
            return path
    raise AssertionError(f"this process has no {name}")


@pytest.fixture(scope="module")
def library() -> Path:
    """The built file shim."""
    return shim_path("syscall")


class TestExports:
    def test_are_those_of_the_table(self, library: Path) -> None:
        """The library exports exactly the functions of the table: no helper, no forgotten one."""
        assert dynamic_symbols(library, defined=True) == table_names()

    @pytest.mark.parametrize(
        ("row", "changed"),
        [("VGPU_FILE_ASK(int, access,", "VGPU_FILE_ASK(int, acces,"), ("int, fstat64,", "int, fstat65,")],
    )
    def test_of_a_changed_row_differ(self, library: Path, tmp_path: Path, row: str, changed: str) -> None:
        """A table with one name changed no longer agrees with the library: the comparison above can fail."""
        csrc = tmp_path / "csrc"
        shutil.copytree(CSRC / "syscall", csrc / "syscall", ignore=shutil.ignore_patterns("*.c", "*.h"))
        text = TABLE.read_text(encoding="utf-8")
        assert row in text
        (csrc / "syscall" / "syscall.def").write_text(text.replace(row, changed), encoding="utf-8")

        assert len(dynamic_symbols(library, defined=True) ^ table_names(csrc)) == 2

    def test_have_no_version(self, library: Path) -> None:
        """The names are unversioned, so that they stand in front of every version that libc has of them."""
        with library.open("rb") as stream:
            assert ELFFile(stream).get_section_by_name(".gnu.version_d") is None

    def test_are_never_called_by_the_library_itself(self, library: Path) -> None:
        """No relocation asks for a name of the table: no call of the shim's own goes through the shim again."""
        assert set(relocated_names(library)) & table_names() == set()
        assert "__errno_location" in set(relocated_names(library))

    def test_are_all_in_libc(self) -> None:
        """Each name of the table is one of libc's; a misspelt one would stand in front of nothing."""
        assert table_names() <= dynamic_symbols(libc(), defined=True)

    def test_leave_out_no_twin(self) -> None:
        """Each fortified, 64-bit or old-style variant of a listed function is listed: programs call only that."""
        names = table_names()
        stems = {re.sub(r"64$", "", name) for name in names if not name.startswith("__")}
        full = stems | {f"{stem}64" for stem in stems}
        twins = full | {f"__{name}{suffix}" for name in full for suffix in ("_chk", "_2")}
        twins |= {f"__{name.replace('stat', 'xstat', 1)}" for name in full if "stat" in name and name != "statx"}
        assert (twins & dynamic_symbols(libc(), defined=True)) - names == set()
        assert {"__xstat64", "__readlinkat_chk", "__openat64_2", "fopen64"} <= twins


class TestLibrary:
    def test_runs_nothing_when_loaded(self, library: Path) -> None:
        """There is no constructor: the only entry of init_array is the compiler's own frame_dummy."""
        with library.open("rb") as stream:
            elf = ELFFile(stream)
            dynamic = next(section for section in elf.iter_sections() if isinstance(section, DynamicSection))
            sizes = {tag.entry.d_tag: tag.entry.d_val for tag in dynamic.iter_tags()}
        assert sizes.get("DT_INIT_ARRAYSZ", 0) <= 8
        assert sizes.get("DT_PREINIT_ARRAYSZ", 0) == 0

    def test_takes_little_thread_storage(self, library: Path) -> None:
        """Its thread-local storage is at most 32 bytes: initial-exec space is scarce where a library is opened late."""
        with library.open("rb") as stream:
            sizes = [segment["p_memsz"] for segment in ELFFile(stream).iter_segments("PT_TLS")]
        assert sum(sizes) <= 32
