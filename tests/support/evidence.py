"""Hand-made evidence: a sound discovery of each generation, and how to spoil it."""

from dataclasses import dataclass, field, replace
from typing import Any

from vgpu_harness.discovery import log
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.facts import Facts, File, Needs, Resolution
from vgpu_harness.trace import Kind, Library, Record

SHIM = "/site/lib/libvgpu-cuda.so"
NVML_SHIM = "/site/lib/libvgpu-nvml.so"
PROGRAM = "/run/ollama/bin/ollama"
LIBRARY_DIRECTORY = "/run/ollama/lib/ollama"
LINK = f"{LIBRARY_DIRECTORY}/libcuda.so.1"
BACKEND = f"{LIBRARY_DIRECTORY}/cuda_v13/libggml-cuda.so"
FOREIGN = "/opt/other/libcuda.so.1"
UUID = "GPU-00000000-0000-0000-0000-000000000001"
PCI = "0000:00:05.0"
SERVER = f"{LIBRARY_DIRECTORY}/llama-server"
RUNTIME = f"{LIBRARY_DIRECTORY}/cuda_v13/libcudart.so.13"
SERVE, CHILD, SECOND, PROBE = 100, 101, 102, 103
GIB = 1 << 30

PRELOADED = File(path=SHIM, real=SHIM, identity=(1, 1), soname="libcuda.so.1", role="cuda", delivered=True)
PRELOADED_NVML = File(
    path=NVML_SHIM, real=NVML_SHIM, identity=(1, 2), soname="libnvidia-ml.so.1", role="nvml", delivered=True
)
RUNTIME_FILE = File(path=RUNTIME, real=RUNTIME, identity=(3, 1), soname="libcudart.so.13", role="runtime")
LINKED = PRELOADED.model_copy(update={"path": LINK})
OTHER = File(path=FOREIGN, real=FOREIGN, identity=(2, 1), soname="libcuda.so.1", role="cuda")
ABSENT = File(path="/nowhere/shim.so", problem="does not exist")

LOG_A = f"""\
time=1 level=INFO source=gpu.go:217 msg="looking for compatible GPUs"
time=1 level=DEBUG source=gpu.go:569 msg="discovered GPU libraries" paths=[{SHIM}]
time=1 level=INFO source=types.go:131 msg="inference compute" id={UUID} library=cuda variant=v13 compute=9.0 \
driver=13.0 name="NVIDIA H100 80GB HBM3" total="79.2 GiB" available="79.2 GiB"
"""

LOG_B = f"""\
time=1 level=INFO source=server.go:430 msg="starting runner" cmd="{PROGRAM} runner --ollama-engine --port 1"
time=1 level=DEBUG source=runner.go:1 msg="bootstrap discovery took" duration=30ms
time=1 level=DEBUG source=runner.go:1 msg="verifying if device is supported" compute=9.0 id={UUID} pci_id={PCI}
time=1 level=INFO source=types.go:42 msg="inference compute" id={UUID} filter_id="" library=CUDA compute=9.0 \
name=CUDA0 description="NVIDIA H100 80GB HBM3" libdirs=ollama,cuda_v13 driver=13.0 \
pci_id={PCI} type=discrete total="79.6 GiB" available="79.2 GiB"
"""

LOG_C = f"""\
time=1 level=INFO source=llama_server.go:1 msg="starting llama-server" cmd="{SERVER} --port 1" pid={CHILD}
time=1 level=INFO source=llama_server.go:1 msg="starting llama-server" cmd="{SERVER} --list-devices" pid={SECOND}
time=1 level=INFO source=native_probe.go:1 msg="starting gpu-discover" cmd="{PROGRAM} gpu-discover" pid={PROBE}
time=1 level=DEBUG source=runner.go:1 msg="bootstrap discovery took" duration=90ms
time=1 level=DEBUG source=runner.go:1 msg="verifying if device is supported" compute=9.0 id=0 pci_id={PCI}
time=1 level=INFO source=types.go:42 msg="inference compute" id=0 filter_id=0 library=CUDA compute=9.0 \
name=CUDA0 description="NVIDIA H100 80GB HBM3" libdirs=ollama,cuda_v13 driver=13.0 \
pci_id={PCI} type=discrete total="79.2 GiB" available="79.2 GiB"
"""

NO_GPU = 'time=1 level=INFO source=types.go:60 msg="inference compute" id=cpu library=cpu compute="" name=cpu\n'


@dataclass
class Story:
    """What happened, in a form that a test can change before it makes evidence of it."""

    facts: Facts
    log: str
    records: list[Record] = field(default_factory=list)
    dropped: int = 0
    clock: int = 0
    stdout: str = ""

    @property
    def evidence(self) -> Evidence:
        """The story as evidence."""
        return Evidence(self.facts, log.parse(self.log), tuple(self.records), self.dropped, self.stdout)

    def change(self, **facts: Any) -> None:
        """Replaces facts."""
        self.facts = self.facts.model_copy(update=facts)

    def without(self, *names: str) -> None:
        """Forgets the records of these entry points."""
        self.records = [r for r in self.records if r.name not in names]

    def answer(self, name: str, **changes: Any) -> None:
        """Changes what every call of `name` answered."""
        self.records = [replace(r, **changes) if r.name == name else r for r in self.records]

    def no_gpu(self, *lines: str) -> None:
        """The final line says cpu, after `lines`."""
        kept = [line for line in self.log.splitlines() if "inference compute" not in line]
        self.log = "\n".join([*kept, *lines, NO_GPU])

    def say(self, line: str) -> None:
        """Adds a line to the log."""
        self.log = self.log.rstrip("\n") + f"\n{line}\n"

    def record(self, kind: Kind, pid: int, library: Library, name: str = "", **rest: Any) -> None:
        """Adds a record, a millisecond after the last."""
        self.clock += 1_000_000
        values: dict[str, Any] = {
            "kind": kind, "time_ns": self.clock, "pid": pid, "tid": pid, "parent": 1 if pid == SERVE else SERVE,
            "library": library, "name": name, "text": "", "inputs": (), "outputs": (), "result": 0, "caller": 0,
            "cut": False, "faulted": False,
        }  # fmt: skip
        self.records.append(Record(**(values | rest)))

    def process(self, pid: int, program: str = PROGRAM) -> None:
        """A process starts, with the shims in it."""
        for path in (program, SHIM, NVML_SHIM):
            self.record(Kind.MAPPED, pid, Library.AUDIT, text=path)

    def calls(self, pid: int, program: str = PROGRAM) -> None:
        """The calls of a sound discovery."""
        self.record(Kind.INIT, pid, Library.CUDA, text=program)
        self.record(Kind.ENTERED, pid, Library.CUDA, "cuInit")
        for name, rest in (
            ("cuInit", {"inputs": (0,)}),
            ("cuDriverGetVersion", {"outputs": (13000,)}),
            ("cuDeviceGetCount", {"outputs": (1,)}),
            ("cuDeviceGet", {"inputs": (0,), "text": PCI}),
            ("cuDeviceGetUuid", {"inputs": (0,), "text": UUID}),
            ("cuDeviceGetName", {"inputs": (96, 0), "text": "NVIDIA H100 80GB HBM3"}),
        ):
            self.record(Kind.CALL, pid, Library.CUDA, name, **rest)


def _facts(generation: str, **rest: Any) -> Facts:
    values: dict[str, Any] = {
        "generation": generation, "argv": (PROGRAM, "serve"), "pid": SERVE, "returncode": 0, "timed_out": False,
        "audit": True, "processes": (), "library_directory": LIBRARY_DIRECTORY,
        "backends": (f"{LIBRARY_DIRECTORY}/cuda_v13",),
        "preload": (PRELOADED, PRELOADED_NVML), "search": (LIBRARY_DIRECTORY,), "libraries": (LINKED,),
        "mapped": (PRELOADED, PRELOADED_NVML), "resolved": (), "needs": (),
    }  # fmt: skip
    return Facts(**(values | rest))


def sound_a() -> Story:
    """Generation A finds an H100."""
    needs = Needs(client=PROGRAM, library=LINK, symbols=("cuInit", "cuCtxCreate_v3"), missing=())
    story = Story(_facts("a", needs=(needs,)), LOG_A)
    story.process(SERVE)
    story.calls(SERVE)
    story.record(Kind.CALL, SERVE, Library.CUDA, "cuMemGetInfo_v2", outputs=(79 * GIB, 79 * GIB))
    return story


def sound_b() -> Story:
    """Generation B finds an H100."""
    resolved = (
        Resolution(client=BACKEND, name="libcuda.so.1", path=SHIM, how="preloaded under this name"),
        Resolution(client=BACKEND, name="libnvidia-ml.so.1", path=NVML_SHIM, how="preloaded under this name"),
        Resolution(client=BACKEND, name="libcudart.so.13", path=RUNTIME, how="found in LD_LIBRARY_PATH"),
    )
    needs = (
        Needs(client=BACKEND, library=SHIM, symbols=("cuInit", "cuMemMap"), missing=()),
        Needs(client=BACKEND, library=RUNTIME, symbols=("cudaGetDeviceCount@libcudart.so.13",), missing=()),
    )
    story = Story(_facts("b", resolved=resolved, needs=needs, libraries=(LINKED, RUNTIME_FILE)), LOG_B)
    story.process(SERVE)
    for pid in (CHILD, SECOND):
        story.process(pid)
        story.calls(pid)
        story.record(Kind.CALL, pid, Library.NVML, "nvmlDeviceGetMemoryInfo", outputs=(79 * GIB, 80 * GIB))
    return story


def sound_c() -> Story:
    """Generation C finds an H100."""
    resolved = (
        Resolution(client=BACKEND, name="libcuda.so.1", path=SHIM, how="preloaded under this name"),
        Resolution(client=BACKEND, name="libnvidia-ml.so.1", path=NVML_SHIM, how="preloaded under this name"),
        Resolution(client=BACKEND, name="libcudart.so.13", path=RUNTIME, how="found in LD_LIBRARY_PATH"),
    )
    needs = (
        Needs(client=BACKEND, library=SHIM, symbols=("cuInit", "cuMemMap"), missing=()),
        Needs(client=BACKEND, library=RUNTIME, symbols=("cudaGetDeviceCount@libcudart.so.13",), missing=()),
        Needs(client=PROGRAM, library=NVML_SHIM, symbols=("nvmlInit_v2",), missing=(), optional=True),
    )
    story = Story(_facts("c", resolved=resolved, needs=needs, libraries=(LINKED, RUNTIME_FILE)), LOG_C)
    story.process(SERVE)
    for pid, program in ((CHILD, SERVER), (SECOND, SERVER), (PROBE, PROGRAM)):
        story.process(pid, program)
        story.record(Kind.CALL, pid, Library.CUDA, "cuGetProcAddress_v2", text="cuInit", outputs=(0,))
        story.calls(pid, program)
    story.record(Kind.CALL, SECOND, Library.CUDA, "cuMemGetInfo_v2", outputs=(79 * GIB, 79 * GIB))
    story.record(Kind.CALL, PROBE, Library.CUDA, "cuDeviceGetPCIBusId", inputs=(32, 0), text=PCI)
    story.record(Kind.CALL, PROBE, Library.NVML, "nvmlSystemGetDriverVersion", inputs=(80,), text="580.95.05")
    return story


SOUND = {"a": sound_a, "b": sound_b, "c": sound_c}
"""A sound discovery of each generation."""

SEEKER = {"a": SERVE, "b": CHILD, "c": CHILD}
"""A process of each in which discovery happens."""
