"""What a shim costs the start of every program: what is looked at here takes time, as benchmarks/start.py measures."""

from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from support.compile import compile_library

from vgpu_harness.shims import shim_path

PAGE = 4096
R_X86_64_RELATIVE = 8
SHIMS = ["cuda", "nvml", "syscall", "exec"]


def costs(library: Path) -> set[str]:
    """What the dynamic linker has to do for this library, and need not do for a lean one."""
    found = set()
    with library.open("rb") as stream:
        elf = ELFFile(stream)
        loads = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
        if len(loads) != 2:
            found.add("more mappings than one to read and one to write")
        if any(segment["p_memsz"] > segment["p_filesz"] for segment in loads):
            found.add("zeros that the file does not hold")
        dynamic = elf.get_section_by_name(".dynamic")
        assert isinstance(dynamic, DynamicSection)
        tags = {tag.entry.d_tag for tag in dynamic.iter_tags()}
        found |= {f"{tag} of the start files" for tag in ("DT_INIT", "DT_FINI") if tag in tags}
        found |= {"a constructor" for tag in tags if tag == "DT_INIT_ARRAY"}
        relative = {
            relocation["r_offset"] // PAGE
            for section in elf.iter_sections()
            if isinstance(section, RelocationSection)
            for relocation in section.iter_relocations()
            if relocation["r_info_type"] == R_X86_64_RELATIVE
        }
        if len(relative) > 2:
            found.add("addresses to fill in on many pages")
    return found


@pytest.mark.parametrize("name", SHIMS)
def test_a_shim_is_lean(name: str) -> None:
    """Two mappings, all zeros in the file, no start files, no constructor, no table of addresses."""
    assert costs(shim_path(name)) == set()


TABLE = """
static int words[3000];
static int function(void) { return words[0]++; }
static void __attribute__((constructor)) start(void) { function(); }
#define TEN(x) x, x, x, x, x, x, x, x, x, x
int (*const functions[])(void) = {TEN(TEN(TEN(TEN(function))))};
"""


def test_an_ordinary_library_is_not() -> None:
    """Control: gcc's start files, separate code, a table of functions, a constructor, zeros of more than a page."""
    assert costs(compile_library(TABLE, "libordinary.so", "-Wl,-z,separate-code")) == {
        "more mappings than one to read and one to write",
        "zeros that the file does not hold",
        "DT_INIT of the start files",
        "DT_FINI of the start files",
        "a constructor",
        "addresses to fill in on many pages",
    }
