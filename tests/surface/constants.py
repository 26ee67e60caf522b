"""The constants of the shims' sources, with the values that the compiler's debug information gives them."""

import concurrent.futures
import dataclasses
import functools
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile
from headers import CSRC

COMPILE = ["gcc", "-std=gnu11", "-w", "-D_GNU_SOURCE", "-D__thread=", f"-I{CSRC}", "-xc"]


@dataclasses.dataclass(frozen=True, order=True)
class Constant:
    """An enumerator, or a macro that is a number: "function.NAME" where a function has it for itself."""

    file: str
    name: str


@functools.cache
def constants(folder: Path) -> dict[Constant, int]:
    """What the C files and headers of a folder define, as 64 bits without a sign."""
    together = "".join(f'#include "{header}"\n' for header in sorted(folder.glob("*.h")))
    texts = [together] + [f'#include "{source}"\n' for source in sorted(folder.glob("*.c"))]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = pool.map(_numbers, texts)
        return {constant: value for one in found for constant, value in one.items()}


def evaluate(includes: Iterable[Path], expressions: Mapping[str, str]) -> dict[str, int]:
    """What the compiler makes of expressions behind those includes, by name, as 64 bits without a sign.

    What is no constant of an integer's or a pointer's type is left out.
    """
    text = "".join(f'#include "{path}"\n' for path in includes)
    folders = tuple(dict.fromkeys(f"-I{path.parent}" for path in includes))
    return _evaluate(text, expressions, *folders)


def _evaluate(text: str, expressions: Mapping[str, str], *flags: str) -> dict[str, int]:
    lines = [f"enum {{ vgpu_{i} = (unsigned long)({one}) }};" for i, one in enumerate(expressions.values())]
    while True:  # gcc tells of a name that is not declared only once
        whole = text + "\n".join(lines) + "\n"
        said = _compile(whole, "-fsyntax-only", "-fmax-errors=0", *flags)
        refused = re.findall(r"^<stdin>:(\d+):\d+: error", said, re.MULTILINE)
        if not refused:
            break
        for number in refused:
            lines[int(number) - text.count("\n") - 1] = ""
    found = {constant.name: value for constant, value in _enumerators(whole, {Path("<stdin>")}, *flags)}
    return {name: found[f"vgpu_{i}"] for i, name in enumerate(expressions) if f"vgpu_{i}" in found}


def _numbers(text: str) -> dict[Constant, int]:
    files = {Path(name) for name in re.findall(r'"(.*)"', text)}
    macros = dict(_macros(text, files))
    values = _evaluate(text, {name: name for name in macros}) if macros else {}
    found = dict(_enumerators(text, files))
    return found | {Constant(macros[name], name): value for name, value in values.items()}


def _macros(text: str, files: set[Path]) -> Iterator[tuple[str, str]]:
    """Names and files of the macros without parameters that the files themselves leave defined."""
    place, defined = Path(), dict[str, str]()
    for line in _compile(text, "-E", "-dD").splitlines():
        if mark := re.match(r'# \d+ "(.*?)"', line):
            place = Path(mark[1])
        elif (define := re.match(r"#define (\w+) +\S", line)) and place in files:
            defined[define[1]] = place.name
        elif undefine := re.match(r"#undef (\w+)", line):
            defined.pop(undefine[1], None)
    yield from defined.items()


def _compile(text: str, *flags: str) -> str:
    """What the compiler says and writes."""
    done = subprocess.run([*COMPILE, *flags, "-"], input=text, text=True, check=False, capture_output=True)
    return done.stdout + done.stderr


def _enumerators(text: str, files: set[Path], *flags: str) -> Iterator[tuple[Constant, int]]:
    """The enumerators of some of the files that the text includes; the text itself is "<stdin>"."""
    with tempfile.TemporaryDirectory() as name:
        compiled = Path(name) / "all.o"
        debug = ["-g", "-gdwarf-4", "-fno-eliminate-unused-debug-types", "-c", "-o", str(compiled)]
        said = _compile(text, *debug, *flags)
        assert compiled.exists(), said[:4000]
        with compiled.open("rb") as file:
            dwarf = ELFFile(file).get_dwarf_info()
            for unit in dwarf.iter_CUs():
                lines = dwarf.line_program_for_CU(unit)
                for enum, function in _enums(unit.get_top_DIE(), ""):
                    place = _place(lines, enum)
                    if place in files:
                        for one in enum.iter_children():
                            own = one.attributes["DW_AT_name"].value.decode()
                            yield (
                                Constant(place.name, function + own),
                                one.attributes["DW_AT_const_value"].value % 2**64,
                            )


def _enums(node: DIE, function: str) -> Iterator[tuple[DIE, str]]:
    for child in node.iter_children():
        if child.tag == "DW_TAG_enumeration_type":
            yield child, function
        elif child.tag == "DW_TAG_subprogram" and "DW_AT_name" in child.attributes:
            yield from _enums(child, child.attributes["DW_AT_name"].value.decode() + ".")
        elif child.tag == "DW_TAG_lexical_block":
            yield from _enums(child, function)


def _place(lines: object, node: DIE) -> Path:
    """The file in which something is declared."""
    entry = lines["file_entry"][node.attributes["DW_AT_decl_file"].value - 1]
    folders = lines["include_directory"]
    folder = folders[entry.dir_index - 1].decode() if entry.dir_index else ""
    return Path(folder) / entry.name.decode()
