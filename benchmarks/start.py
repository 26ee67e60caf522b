"""What the four shims cost the start of a program: /bin/true with them preloaded, beside libraries that do nothing.

The empty libraries have the same sonames and exports and are linked with the same options, so what is left is what the
shims are, not that something is preloaded. All are copied to one place in one way: how a file got into the page cache
decides how much of it the kernel maps at once, which is more than what is measured here ("as installed").
Each configuration starts once a round, in random order, on one core. Ratios are medians of the rounds' own, with what
the median of other rounds might be.

Usage: start.py [ROUNDS]
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rounds import mean, ratio

from vgpu_harness.host import Host
from vgpu_harness.run import deliver
from vgpu_harness.run.environment import build_environment
from vgpu_harness.shims.elf import read_elf
from vgpu_harness.trace import create_trace

PROGRAM = "/bin/true"
BATCH = 20


def empty(shim: Path, place: Path) -> Path:
    """A library with a shim's exports, each of which does nothing."""
    elf = read_elf(shim)
    target, source = place / shim.name, place / f"{shim.name}.c"
    source.write_text(
        "".join(f"int {name}(void) {{ return -1; }}\n" for name in sorted(elf.exported) if name.isidentifier())
    )
    flags = ["-shared", "-fPIC", "-O2", "-w", "-fno-builtin", "-nostartfiles", "-Wl,-z,now", "-Wl,-z,relro"]
    flags += ["-Wl,-z,noseparate-code"]
    subprocess.run(["cc", *flags, f"-Wl,-soname,{elf.soname}", "-o", target, source], check=True)
    return target


def seconds(environment: Mapping[str, str]) -> float:
    """One start and end, the mean of a batch."""
    started = time.perf_counter()
    for _ in range(BATCH):
        os.waitpid(os.posix_spawn(PROGRAM, [PROGRAM], environment), 0)
    return (time.perf_counter() - started) / BATCH


def copied(libraries: Sequence[Path], place: Path) -> list[str]:
    """The same libraries, each written at once."""
    place.mkdir()
    targets = [place / library.name for library in libraries]
    for library, target in zip(libraries, targets, strict=True):
        target.write_bytes(library.read_bytes())
    return [str(target) for target in targets]


def main(rounds: int) -> None:
    """Prints the median, in microseconds, of each configuration, and its ratio to the empty libraries."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with TemporaryDirectory() as name:
        place = Path(name)
        delivered = deliver(Host(), place)
        trace = create_trace(place / "trace")
        installed = [Path(shim) for shim in delivered.preload]
        nothing = copied([empty(shim, place) for shim in installed], place / "empty")
        shims = copied(installed, place / "shims")
        environments = {
            "empty libraries": build_environment(place, preload=nothing),
            "empty libraries again": build_environment(place, preload=nothing),
            "nothing preloaded": build_environment(place),
            "shims": build_environment(place, preload=shims),
            "shims, host and trace": build_environment(place, host_image=delivered.image, trace=trace, preload=shims),
            "shims as installed": build_environment(place, preload=delivered.preload),
        }
        taken: dict[str, list[float]] = {line: [] for line in environments}
        for _ in range(rounds):
            for line in random.sample(list(environments), len(environments)):
                taken[line].append(seconds(environments[line]))
        base = mean(taken["empty libraries"], taken["empty libraries again"])
        for line, values in taken.items():
            print(f"{line:24}{median(values) * 1e6:9.1f} us   {ratio(values, base)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 101)
