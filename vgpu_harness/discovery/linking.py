"""What the dynamic linker makes of a client's libraries: where each name leads, and which symbols are not there.

Resolution follows ld.so(8): a name without a slash is first compared with the DT_SONAME of what is loaded already (the
preloaded files), then looked for in LD_LIBRARY_PATH, where a file of another ELF class is passed over. What the
system's own directories hold is not searched here; if a client took a library from there, the auditor's records
show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vgpu_harness.discovery.clients import (
    BACKEND_FILE,
    DRIVER_SYMBOLS_C,
    MEMORY_SYMBOLS,
    NVML_SYMBOLS_B,
    NVML_SYMBOLS_C,
    RUNTIME_SYMBOLS,
    SYMBOLS_A,
)
from vgpu_harness.discovery.facts import Generation, Needs, Resolution
from vgpu_harness.discovery.installation import Layout, search_path
from vgpu_harness.discovery.library_files import MISSING, Shelf, candidates
from vgpu_harness.shims.elf import ElfFacts

DRIVER = "libcuda.so.1"
NVML = "libnvidia-ml.so.1"

# What a backend brings along in its own directory; the rest of its DT_NEEDED is the system's.
_BUNDLED = ("libcudart.so", "libcublas.so", "libcublasLt.so", "libggml")


@dataclass(frozen=True)
class Linker:
    """The dynamic linker's view of one client: what is preloaded, and the directories of its LD_LIBRARY_PATH."""

    shelf: Shelf
    preload: Sequence[str]
    search: Sequence[str]

    def resolve(self, client: str, name: str) -> Resolution:
        """Where `name` leads for `client`."""
        for path in self.preload:
            file = self.shelf.file(path)
            if file.problem is None and file.soname == name:
                return Resolution(client=client, name=name, path=path, how="preloaded under this name")
        how = "neither preloaded under this name nor in LD_LIBRARY_PATH"
        for directory in self.search:
            path = str(Path(directory) / name)
            problem = self.shelf.file(path).problem
            if problem is None:
                return Resolution(client=client, name=name, path=path, how="found in LD_LIBRARY_PATH")
            if problem != MISSING:
                how = f"not to be had: {path} {problem}"
        return Resolution(client=client, name=name, path=None, how=how)


def lacking(
    shelf: Shelf,
    client: str,
    library: str,
    symbols: Sequence[str],
    scope: Sequence[str] = (),
    *,
    optional: bool = False,
) -> Needs:
    """Which of `symbols` neither `library` nor a library of `scope` (bound before it) exports; `a|b`: either."""
    names = [name for wanted in symbols for name in wanted.split("|")]
    there = frozenset[str]().union(*(shelf.library(path).exported_of(names) for path in (library, *scope)))
    missing = tuple(wanted for wanted in symbols if there.isdisjoint(wanted.split("|")))
    return Needs(client=client, library=library, symbols=tuple(symbols), missing=missing, optional=optional)


def lacking_versions(shelf: Shelf, client: str, elf: ElfFacts, name: str, library: str) -> Needs | None:
    """Which of the versioned symbols that `client` needs of the library called `name` are not in the file `library`.

    ld.so refuses a library whose version definitions lack a node that is needed of it, before it looks at any symbol;
    one without version definitions passes (glibc's elf/dl-version.c, match_symbol). None if nothing is needed.
    """
    nodes = elf.verneed.get(name, ())
    wanted = sorted((symbol, node) for symbol, node in elf.required if node in nodes)
    provider = shelf.library(library).elf
    if not wanted or provider is None:
        return None
    defined = provider.version_nodes
    missing: tuple[str, ...]
    if not defined:
        missing = tuple(symbol for symbol, _ in wanted if symbol not in provider.provided)
    elif absent := [node for node in nodes if node not in defined]:
        missing = tuple(f"{symbol}@{node}" for symbol, node in wanted if node in absent)
    else:
        missing = tuple(f"{s}@{node}" for s, node in wanted if node not in provider.provided.get(s, frozenset()))
    return Needs(client=client, library=library, symbols=tuple(f"{s}@{node}" for s, node in wanted), missing=missing)


def needs_of(
    generation: Generation, layout: Layout, shelf: Shelf, preload: Sequence[str], inherited: Sequence[str]
) -> tuple[list[Resolution], list[Needs]]:
    """What a client's names lead to, and what is missing there; `inherited` is LD_LIBRARY_PATH as the client got it."""
    if generation == "a":
        found = [
            path
            for path in candidates(search_path("a", layout, inherited), ("libcuda.so*",))
            if shelf.file(path).role == "cuda"
        ]
        return [], [lacking(shelf, str(layout.program), path, SYMBOLS_A) for path in found]
    resolved: list[Resolution] = []
    needs: list[Needs] = []
    for folder in layout.backends:
        # B: llm/server.go:334 of Ollama v0.24.0; C: llm/llama_server.go:445 of v0.33.0. llama-server lies in the
        # library directory, so both come to: the library directory, the backend's, then what was inherited.
        linker = Linker(shelf, preload, [str(layout.library_directory), str(folder), *inherited])
        elf = shelf.library(str(folder / BACKEND_FILE)).elf
        if elf is not None:
            lookups = (*RUNTIME_SYMBOLS, *(MEMORY_SYMBOLS if generation == "c" else ()))
            _needs_of_backend(linker, str(folder / BACKEND_FILE), elf, lookups, resolved, needs)
        if generation == "c":
            _needs_of_probe(linker, str(layout.program), needs)
        elif nvml := linker.resolve(str(folder / BACKEND_FILE), NVML).path:
            needs.append(lacking(shelf, str(folder / BACKEND_FILE), nvml, NVML_SYMBOLS_B, optional=True))
    return resolved, needs


def _needs_of_backend(
    linker: Linker,
    client: str,
    elf: ElfFacts,
    lookups: Sequence[str],
    resolved: list[Resolution],
    needs: list[Needs],
) -> None:
    shelf = linker.shelf
    driver = linker.resolve(client, DRIVER)
    resolved += [driver, linker.resolve(client, NVML)]
    if driver.path is not None:
        loaded = [path for path in linker.preload if shelf.file(path).problem is None]
        # cudaX and cublasX are of the libraries below
        bound = sorted(name for name in elf.undefined if name.startswith("cu") and name[2:3].isupper())
        needs.append(lacking(shelf, client, driver.path, bound, loaded))
        needs.append(lacking(shelf, client, driver.path, lookups))
    for name in elf.needed:
        if name.startswith(_BUNDLED):
            bundled = linker.resolve(client, name)
            resolved.append(bundled)
            if bundled.path is not None and (versioned := lacking_versions(shelf, client, elf, name, bundled.path)):
                needs.append(versioned)


def _needs_of_probe(linker: Linker, client: str, needs: list[Needs]) -> None:
    """What `ollama gpu-discover` looks up by itself; where it finds nothing, it answers without it."""
    for name, symbols in ((DRIVER, DRIVER_SYMBOLS_C), (NVML, NVML_SYMBOLS_C)):
        path = linker.resolve(client, name).path
        if path is not None:
            needs.append(lacking(linker.shelf, client, path, symbols, optional=True))
