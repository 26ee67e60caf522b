"""NVIDIA's headers as data. `nox -s surface` installs them; without them a test fails and says so.

pycparser reads what `gcc -E` makes of a header; the compiler itself compares prototypes and layouts.
"""

import dataclasses
import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pycparser import c_ast, c_generator, c_parser

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
STUBS = Path(__file__).parent / "stubs"

FOLDERS = {"newest": "VGPU_SURFACE_NEWEST", "12.9": "VGPU_SURFACE_12_9"}
"""Environment variable with the folder into which the headers' wheels are unpacked, by release."""

ALL_FORMS = {"cuda": "-D__CUDA_API_VERSION_INTERNAL", "nvml": "-DNVML_NO_UNVERSIONED_FUNC_DEFS"}
"""With these the headers declare every version of a function under its own name."""

# What pycparser does not know of GNU C.
NEUTRAL = [
    "-D__attribute__(x)=", "-D__extension__=", "-D__asm__(x)=", "-D__inline=", "-D__inline__=", "-Dinline=",
    "-D__restrict=", "-D_Float128=double", "-D__builtin_va_list=int", "-D_Noreturn=", "-D_Static_assert(x, y)=",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Headers:
    """One release of the headers: `cuda` and `nvml` are the paths of cuda.h and nvml.h."""

    release: str
    cuda: Path
    nvml: Path

    def path(self, api: str) -> Path:
        """The header of an API, "cuda" or "nvml"."""
        return self.cuda if api == "cuda" else self.nvml

    def functions(self, api: str) -> set[str]:
        """The functions that the header declares, in every version."""
        return {
            node.name
            for node in parsed(self.path(api), ALL_FORMS[api]).ext
            if isinstance(node, c_ast.Decl)
            and isinstance(node.type, c_ast.FuncDecl)
            and node.coord.file == str(self.path(api))
        }

    def typedef_headers(self) -> list[Path]:
        """cuda*Typedefs.h: a type of function pointer for each step of cuGetProcAddress."""
        return sorted(self.cuda.parent.glob("cuda*Typedefs.h"))


def headers(release: str) -> Headers:
    """The headers of a release of `FOLDERS`."""
    folder = os.environ.get(FOLDERS[release])
    assert folder, f"{FOLDERS[release]} is not set; run it as `nox -s surface`, which installs the headers"
    found = {name: list(Path(folder).rglob(name)) for name in ("cuda.h", "nvml.h")}
    for name, paths in found.items():
        assert len(paths) == 1, f"{folder} has {len(paths)} files {name}; run it as `nox -s surface`"
    return Headers(release, found["cuda.h"][0], found["nvml.h"][0])


@functools.cache
def parsed(header: Path, *flags: str) -> c_ast.FileAST:
    """The declarations of a header and of all that it includes."""
    command = ["gcc", "-E", "-xc", "-std=c11", *NEUTRAL, f"-I{CSRC}", *flags, str(header)]
    text = subprocess.run(command, text=True, check=True, capture_output=True).stdout
    return c_parser.CParser().parse(text, str(header))


def enumerators(tree: c_ast.FileAST) -> dict[str, int]:
    """The enumerators of all enums, with their values.

    Values may name others and do arithmetic, as in C; each is computed from those before it.
    """
    found: dict[str, int] = {}
    for node in _enums(tree):
        value = -1
        for one in node.values.enumerators:
            value = value + 1 if one.value is None else _value(one.value, found)
            found[one.name] = value
    return found


def _enums(tree: c_ast.Node) -> Iterator[c_ast.Enum]:
    for _, child in tree.children():
        if isinstance(child, c_ast.Enum) and child.values is not None:
            yield child
        yield from _enums(child)


def _value(node: c_ast.Node, known: Mapping[str, int]) -> int:
    text = c_generator.CGenerator().visit(node)
    text = re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", text)
    text = re.sub(r"\(\s*(unsigned|signed)?\s*(int|long)\s*\)", "", text)
    return int(eval(text, {"__builtins__": {}}, dict(known)))


@dataclasses.dataclass(frozen=True)
class Row:
    """One entry of a list: `parameters` as C has them, `base` and `since` for cuGetProcAddress (CUDA only)."""

    name: str
    parameters: str
    base: str = ""
    since: int = 0

    @property
    def twin(self) -> str:
        """The suffix of a per-thread form, else empty."""
        found = re.search(r"_pt[ds]s?z?$", self.name)
        return found[0] if found else ""


def rows(api: str) -> dict[str, Row]:
    """The list of an API, "cuda" or "nvml", as the preprocessor expands it."""
    if api == "cuda":
        text = '#define VGPU_CUDA(n, w, b, s, p, a, i) @row n @ p @ b @ s @end\n#include "cuda/cuda.def"\n'
    else:
        text = (
            "#define VGPU_NVML(n, w, p, a, i) @row n @ p @ - @ 0 @end\n"
            "#define VGPU_NVML_TEXT(n, p, a, i) @row n @ p @ - @ 0 @end\n"
            '#include "nvml/nvml.def"\n'
        )
    command = ["gcc", "-E", "-P", "-xc", f"-I{CSRC}", "-"]
    expanded = subprocess.run(command, input=text, text=True, check=True, capture_output=True).stdout
    found = {}
    for entry in re.findall(r"@row (.*?) @end", expanded, re.DOTALL):
        name, parameters, base, since = (" ".join(part.split()) for part in entry.split(" @ "))
        found[name] = Row(name, "(void)" if parameters == "()" else parameters, base, int(since))
    return found


def complaints(includes: Iterable[Path | str], asserts: Mapping[str, str], *flags: str) -> list[str]:
    """Which of the asserts do not hold: `asserts` are constant expressions of C by the text that names each.

    Raises:
        AssertionError: the compiler stops at something else.
    """
    includes = [Path(path) for path in includes]
    folders = [f"-I{folder}" for folder in dict.fromkeys(path.parent for path in includes)]
    lines = [f'#include "{path}"' for path in includes]
    lines += [f'_Static_assert({condition}, "@{text}@");' for text, condition in asserts.items()]
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "check.c"
        source.write_text("\n".join(lines) + "\n")
        command = ["gcc", "-std=gnu11", "-fsyntax-only", "-w", "-fmax-errors=0", *folders, f"-I{STUBS}", *flags]
        said = subprocess.run([*command, str(source)], text=True, check=False, capture_output=True).stderr
    failed = re.findall(r'static assertion failed: "@(.*?)@"', said)
    others = [line for line in said.splitlines() if " error: " in line and "static assertion failed" not in line]
    assert not others, "\n".join(others[:20])
    return failed
