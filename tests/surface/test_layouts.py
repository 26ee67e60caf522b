"""Each struct of NVIDIA's that the shims look into has the size and the members' places that the headers give it."""

import dataclasses
import itertools
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from headers import ALL_FORMS, CSRC, NEUTRAL, STUBS, Headers, headers
from pycparser import c_ast, c_parser

# Structs that no header has.
OURS = {
    "nvmlPciInfo_v1_t": "what NVML 1 knew of nvmlPciInfo_t",
    "nvmlPciInfo_v2_t": "what NVML 2 knew of nvmlPciInfo_t",
}

# Members that the header has under another name; of those named "of", which repeat an older struct, the first one.
RENAMED = {
    "CUgraphNodeParams.memcpy.of": "memcpy.copyParams",
    "CUgraphNodeParams.memset.of": "memset.dst",
    "CUgraphNodeParams.host.of": "host.fn",
    "CUgraphNodeParams.event": "eventRecord",
    "CUgraphNodeParams.event.event": "eventRecord.event",
    "CUgraphNodeParams.event.ctx": "eventRecord.ctx",
    "CUgraphNodeParams.extSemSignal.of": "extSemSignal.extSemArray",
    "CUgraphNodeParams.extSemWait.of": "extSemWait.extSemArray",
    "CUstreamBatchMemOpParams.waitValue.value": "waitValue.value64",
    "CUstreamBatchMemOpParams.writeValue.value": "writeValue.value64",
}


@dataclasses.dataclass(frozen=True)
class Struct:
    """A struct or union by the name that C code has for it, and the paths of its members."""

    name: str
    members: tuple[str, ...]


def known_structs(api: str) -> list[Struct]:
    """The structs of NVIDIA's that the shim's headers define."""
    includes = "".join(f'#include "{path.relative_to(CSRC)}"\n' for path in sorted((CSRC / api).glob("*.h")))
    command = ["gcc", "-E", "-P", "-xc", "-std=gnu11", *NEUTRAL, f"-I{CSRC}", "-"]
    text = subprocess.run(command, input=includes, text=True, check=True, capture_output=True).stdout
    tree = c_parser.CParser().parse(text)
    typedefs = [node for node in tree.ext if isinstance(node, c_ast.Typedef) and isinstance(node.type, c_ast.TypeDecl)]
    shape = (c_ast.Struct, c_ast.Union)
    names = {node.type.type.name: node.name for node in typedefs if isinstance(node.type.type, shape)}
    declared = [node.type.type for node in typedefs] + [node.type for node in tree.ext if isinstance(node, c_ast.Decl)]
    bodies = {
        names[body.name]: body
        for body in declared
        if isinstance(body, shape) and body.decls is not None and body.name in names
    }
    return [
        Struct(name, tuple(_members(body)))
        for name, body in bodies.items()
        if name.startswith(("CU", "nvml")) and name not in OURS
    ]


def _members(body: c_ast.Node, before: str = "") -> Iterator[str]:
    for member in body.decls:
        inner = member.type.type if isinstance(member.type, c_ast.TypeDecl) else None
        is_struct = isinstance(inner, c_ast.Struct | c_ast.Union) and inner.decls is not None
        if member.name is not None and not member.name.startswith("own_"):  # in what the header calls padding
            yield before + member.name
        elif isinstance(member.type, c_ast.Struct | c_ast.Union):
            yield from _members(member.type, before)
        if is_struct and member.name is not None:
            yield from _members(inner, f"{before}{member.name}.")


def layout(
    structs: list[Struct], includes: list[str], *flags: str, renamed: Mapping[str, str] = RENAMED
) -> dict[str, tuple[int, int]]:
    """Offset and size, in bytes, of each struct and member, as the compiler has them.

    Of a repeated older struct only the offset counts: the header has its members one by one.
    """
    lines = [f"#include {include}" for include in ("<stdio.h>", "<stddef.h>", *includes)] + ["int main(void) {"]
    for struct in structs:
        lines.append(f'printf("{struct.name} 0 %zu\\n", sizeof({struct.name}));')
        for member in struct.members:
            path = renamed.get(f"{struct.name}.{member}", member)
            size = "(size_t)0" if member.endswith(".of") else f"sizeof((({struct.name} *)0)->{path})"
            lines.append(f'printf("{struct.name}.{member} %zu %zu\\n", offsetof({struct.name}, {path}), {size});')
    lines.append("return 0; }")
    with tempfile.TemporaryDirectory() as name:
        source, program = Path(name) / "layout.c", Path(name) / "layout"
        source.write_text("\n".join(lines))
        build = subprocess.run(
            ["gcc", "-std=gnu11", "-w", "-o", str(program), str(source), *flags],
            text=True,
            capture_output=True,
            check=False,
        )
        assert build.returncode == 0, build.stderr[:4000]
        said = subprocess.run([str(program)], text=True, check=True, capture_output=True).stdout
    return {line.split()[0]: (int(line.split()[1]), int(line.split()[2])) for line in said.splitlines()}


def theirs(api: str, release: Headers, structs: list[Struct]) -> dict[str, tuple[int, int]]:
    """The layout as the headers have it."""
    extra = [f'"{name}"' for name in ("cudaEGL.h",)] if api == "cuda" else []
    folder = release.path(api).parent
    return layout(structs, [f'"{release.path(api)}"', *extra], f"-I{folder}", f"-I{STUBS}", ALL_FORMS[api])


def ours(api: str, structs: list[Struct]) -> dict[str, tuple[int, int]]:
    """The layout as the shims have it."""
    includes = [f'"{path.relative_to(CSRC)}"' for path in sorted((CSRC / api).glob("*.h"))]
    return layout(structs, includes, f"-I{CSRC}", renamed={})


@pytest.mark.parametrize("api", ["cuda", "nvml"])
def test_each_struct_is_laid_out_as_in_the_newest_header(api):
    """sizeof of each struct, offsetof and size of each member, by the header's own names."""
    structs = known_structs(api)
    assert len(structs) >= {"cuda": 6, "nvml": 3}[api]
    release = headers("newest")
    assert ours(api, structs) == theirs(api, release, structs)


@pytest.mark.parametrize("api", ["cuda", "nvml"])
def test_a_moved_member_is_found(api):
    """The control: two members of our own change places in the comparison."""
    structs = [struct for struct in known_structs(api) if len(struct.members) > 1]
    mine = ours(api, structs)
    for struct in structs:
        for one, other in itertools.pairwise(struct.members):
            a, b = f"{struct.name}.{one}", f"{struct.name}.{other}"
            if mine[a] != mine[b]:
                swapped = mine | {a: mine[b], b: mine[a]}
                assert swapped != theirs(api, headers("newest"), structs)
                return
    raise AssertionError("no struct has two members of different places")
