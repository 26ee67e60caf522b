"""Generation C's client on a simulated host: what it logged, which children it started, what each called."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from support.clients import Answer
from support.compile import compile_library
from vgpu_harness.discovery.installation import Layout, lay_out
from vgpu_harness.host import Host
from vgpu_harness.run import Run, run
from vgpu_harness.trace import Kind, Library

What = Literal["start", "list", "probe"]
TRACE_SIZE = 4 << 20

PCI = "0000:00:05.0"

# The calls of a child, in order: the runtime's start, libggml-cuda's own, its memory, then gpu-discover's.
START = ["cuDriverGetVersion", "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2",
         "cuDeviceGetUuid", "cuDeviceGetAttribute"]  # fmt: skip
BACKEND = ["cuDeviceGet", "cuDeviceGetAttribute", "cuMemGetAllocationGranularity", "cuDeviceGetAttribute"]
MEMORY = ["cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemGetInfo_v2"]
DRIVER = ["cuInit", "cuDriverGetVersion", "nvmlInit_v2", "nvmlSystemGetDriverVersion", "nvmlShutdown",
          "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetAttribute", "cuDeviceGetName", "cuDeviceTotalMem_v2",
          "cuDeviceGetPCIBusId"]  # fmt: skip

_EVERYWHERE = "#define _GNU_SOURCE\n#include <errno.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n"


@dataclass(frozen=True)
class Child:
    """One child that the server started: llama-server for the system line or the list, or gpu-discover."""

    pid: int
    what: What
    directory: str
    """The backend's directory, by its last name; "" for none."""
    environment: dict[str, str]
    """What the server shows of it."""


@dataclass(frozen=True)
class Discovery:
    """One `ollama serve`."""

    answer: Answer
    run: Run

    @property
    def children(self) -> list[Child]:
        """In the order of their start."""
        found = []
        # Side by side in pass 2, two children's lines may change places; each is there once all the same.
        environments = iter(self.answer.all("subprocess"))
        for line in self.answer.all("starting "):
            words = shlex.split(line["cmd"])
            what: What = "probe" if words[1] == "gpu-discover" else "list" if words[1] == "--list-devices" else "start"
            shown = next(environments, {})
            directory = words[-1] if what == "probe" else shown.get("GGML_BACKEND_PATH", "/").rpartition("/")[0]
            found.append(Child(int(line["pid"]), what, Path(directory).name, shown))
        return found

    def child(self, what: What, directory: str) -> Child:
        """The first of its kind: pass 1's."""
        return next(child for child in self.children if (child.what, child.directory) == (what, directory))

    def calls(self, child: Child, *, lookups: bool = False) -> list[str]:
        """The entry points of CUDA and NVML that it called, in order; look-ups by name are left out."""
        return [
            record.name
            for record in self.run.trace.records
            if record.pid == child.pid and record.kind == Kind.CALL and record.library in {Library.CUDA, Library.NVML}
            and (lookups or not record.name.startswith("cuGetProcAddress"))
        ]  # fmt: skip

    @property
    def gpus(self) -> list[dict[str, str]]:
        """The final lines about GPUs."""
        return [line for line in self.answer.all("inference compute") if line["library"] != "cpu"]


def folded(calls: list[str]) -> list[str]:
    """Without repeats in a row, and without what a runtime asks the context stack."""
    kept = [name for name in calls if name not in {"cuCtxGetDevice", "cuCtxGetCurrent"}]
    return [name for name, _ in groupby(kept)]


def on_cpu(found: Discovery) -> bool:
    """Did discovery end without a GPU?"""
    return found.answer.returncode == 0 and found.answer.one("inference compute")["library"] == "cpu"


def serve(
    root: Path,
    host: dict[str, Any] | None = None,
    *arguments: str,
    debug: str = "2",
    preload: Sequence[Path] = (),
    libraries: Path | None = None,
    change: Any = None,
    **environment: str,
) -> Discovery:
    """Lays the client out in `root` and runs `ollama serve` once.

    Args:
        root: a directory to do it in.
        host: the keys of the host file that differ from the default host.
        arguments: more of the command line.
        debug: OLLAMA_DEBUG.
        preload: libraries after the shims in LD_PRELOAD.
        libraries: what `discover --libraries` takes.
        change: called with the layout before the start.
        environment: variables of the server.
    """
    keys = dict(host or {})
    if preload:
        delivery = dict(keys.get("delivery", {}))
        first = delivery.get("preload", ["exec", "syscall", "cuda", "nvml"])
        keys["delivery"] = delivery | {"preload": [*first, *map(str, preload)]}
    layout = lay_out("c", root / "client", libraries)
    if change is not None:
        change(layout)
    made = run(
        [layout.program, "serve", *arguments],
        Host.model_validate(keys),
        directory=root / "client",
        env={"OLLAMA_DEBUG": debug, **environment},
        trace_size=TRACE_SIZE,
        timeout=30,
    )
    assert not made.timed_out
    assert made.stdout == ""
    return Discovery(Answer(made.returncode, made.stderr, []), made)


def only(directory: str) -> Any:
    """A change of the layout: all backends but this one are removed."""

    def remove(layout: Layout) -> None:
        for backend in layout.backends:
            if backend.name != directory:
                for file in backend.iterdir():
                    file.unlink()
                backend.rmdir()

    return remove


def chatter(program: str, what: str, statement: str) -> Path:
    """A library that runs `statement` at its start, in processes of this name one of whose arguments is `what`."""
    source = (
        _EVERYWHERE + "static int is_here(int argc, char **argv) {\n"
        f'    int right = strcmp(program_invocation_short_name, "{program}") == 0;\n'
        "    for (int i = 1; i < argc && right; i++) {\n"
        f'        if (strcmp(argv[i], "{what}") == 0) return 1;\n'
        "    }\n    return 0;\n}\n"
        "static void say(int fd, const char *text) { if (write(fd, text, strlen(text)) < 0) _exit(9); }\n"
        "__attribute__((constructor)) static void speak(int argc, char **argv) {\n"
        f"    if (is_here(argc, argv)) {{ {statement} }}\n    (void)say;\n}}\n"
    )
    return compile_library(source, "libchatter.so")
