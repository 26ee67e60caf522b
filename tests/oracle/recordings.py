"""What the oracle's tests compare: NVIDIA's libraries, where they lie, and recordings of them and of our shims."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vgpu_harness import Host
from vgpu_harness.conformance import oracle
from vgpu_harness.conformance.compare import Comparison, compare
from vgpu_harness.conformance.record import Recording, record
from vgpu_harness.shims import shim_path

LIBRARIES = "VGPU_ORACLE_LIBRARIES"
"""Environment variable with the folder in which NVIDIA's libraries lie."""

OTHER_BUFFERS = 0x7EA1_F000_0000
"""Where the zeroed memory lies in the second recording: whoever takes the address for a number answers otherwise."""


def library(name: str) -> Path:
    """One of NVIDIA's libraries; missing is a failure, with the remedy."""
    folder = os.environ.get(LIBRARIES)
    assert folder, f"{LIBRARIES} is not set; run it as `nox -s oracle`, which fetches the libraries"
    path = Path(folder, name)
    assert path.is_file(), f"{path} is missing; run it as `nox -s oracle`, which fetches the libraries"
    return path


@dataclass(frozen=True)
class Machine:
    """What a library could have left: names and kinds in /dev and /etc, names in HOME, what is NVIDIA's in /tmp."""

    nodes: frozenset[tuple[str, int, int]]
    names: frozenset[str]

    @classmethod
    def now(cls) -> "Machine":
        """As it is now."""
        nodes = set()
        for path in [*Path("/dev").rglob("*"), *Path("/etc").rglob("*")]:
            if "pts" not in path.parts and path.exists():
                found = path.lstat()
                nodes.add((str(path), stat.S_IFMT(found.st_mode), found.st_rdev))
        suspects = [
            path for path in Path("/tmp").iterdir() if any(word in path.name.lower() for word in ("nvidia", "mps"))
        ]
        return cls(frozenset(nodes), frozenset(str(path) for path in [*Path.home().iterdir(), *suspects]))


@dataclass(frozen=True)
class Oracle:
    """Everything that is compared.

    Attributes:
        first: NVIDIA's libraries.
        second: the same, called with other addresses.
        ours: our shims, by run.
        ready: our shims on a host whose initialisation succeeds.
        table: the known differences.
        comparisons: by run, without the functions that vary.
        before: the machine before NVIDIA's libraries were called.
        after: and afterwards.
    """

    first: Recording
    second: Recording
    ours: dict[oracle.RunName, Recording]
    ready: Recording
    table: oracle.Table
    comparisons: dict[oracle.RunName, Comparison]
    before: Machine
    after: Machine


def make() -> Oracle:
    """Both recordings of NVIDIA's libraries, those of ours, and the comparisons."""
    theirs = library("libcuda.so.1"), library("libnvidia-ml.so.1")
    table = oracle.read_table(Path(__file__).parent / "known.toml")
    before = Machine.now()
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(record, *theirs), pool.submit(record, *theirs, buffers=OTHER_BUFFERS)
        first, second = one.result(), two.result()
    after = Machine.now()
    cuda, nvml = shim_path("cuda"), shim_path("nvml")
    ours: dict[oracle.RunName, Recording] = {
        "transparent": record(cuda, nvml),
        "failing": record(cuda, nvml, oracle.failing_host()),
    }
    stable = oracle.without(first, table.varying)
    return Oracle(
        first, second, ours, record(cuda, nvml, Host()), table,
        {run: compare(stable, recording) for run, recording in ours.items()}, before, after,
    )  # fmt: skip
