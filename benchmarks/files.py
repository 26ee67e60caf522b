"""What the shims cost file calls on paths that are none of theirs: against no preload, and over a stub of libc.

Each line is measured once a round in each configuration, in random order, in a process of its own, pinned to one core.
"again" is the first configuration a second time: where it differs from the first, nothing smaller is resolved.
Usage: files.py [ROUNDS]
"""

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from vgpu_harness.host import Host
from vgpu_harness.run import deliver
from vgpu_harness.run.environment import build_environment
from vgpu_harness.trace import create_trace

HERE = Path(__file__).parent
RESOLVED = 1.01
"""The A/A ratio above which a ratio is not resolved."""

WHOLE = {
    "open+close": (60_000, "/etc/hostname"),
    "stat": (150_000, "/etc/hostname"),
    "access": (150_000, "/etc/hostname"),
    "read": (600_000, "/etc/hostname"),
    "pread": (400_000, "/etc/hostname"),
    "fopen+fgets+fclose": (40_000, "/etc/hostname"),
    "opendir+readdir": (20_000, "/etc/alternatives/.."),
}
STUBBED = {
    "open": (4_000_000, "/etc/hostname"),
    "stat": (4_000_000, "/etc/hostname"),
    "stat of the next": (1_000_000, "/etc/hostname"),
    "access": (4_000_000, "/etc/hostname"),
    "fopen": (4_000_000, "/etc/hostname"),
    "opendir": (4_000_000, "/etc"),
}
PATHS = {
    "/etc": "/etc/hostname",
    "/srv": "/srv/hostname",
    "/sys (other)": "/sys/devices/system/cpu/cpu0/topology/core_id",
    "/proc (other)": "/proc/self/stat",
    "/dev (other)": "/dev/null",
    "relative": "files.txt",
}
"""Kinds of path that are none of the tree: by their first component, whose first letter the tree has or has not."""


def compiled(place: Path, source: str, *flags: str) -> Path:
    """A file of this folder, compiled."""
    target = place / source.removesuffix(".c")
    subprocess.run(["cc", "-O2", "-w", "-fno-builtin", *flags, "-o", target, HERE / source], check=True)
    return target


def nanoseconds(program: Path, call: str, count: int, path: str, environment: Mapping[str, str], cwd: Path) -> float:
    """One measurement."""
    words = [str(program), call, str(count), path]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True, cwd=cwd)
    return float(done.stdout)


def measure(
    rounds: int, program: Path, lines: Mapping[str, tuple[str, int, str]], environments: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, float]]:
    """Medians in ns by line and configuration."""
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for line, name in random.sample(pairs := [(a, b) for a in lines for b in environments], len(pairs)):
            call, count, path = lines[line]
            one = nanoseconds(program, call, count, path, environments[name], program.parent)
            taken.setdefault((line, name), []).append(one)
    return {line: {name: median(taken[line, name]) for name in environments} for line in lines}


def main(rounds: int) -> None:
    """Prints both tables."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with TemporaryDirectory() as name:
        place = Path(name)
        program = compiled(place, "files.c")
        stub = compiled(place, "files_stub.c", "-shared", "-fPIC")
        (place / "files.txt").write_text("a line\n")
        delivered = deliver(Host(), place)
        trace = create_trace(place / "trace")
        shims = build_environment(place, host_image=delivered.image, trace=trace, preload=delivered.preload)
        plain = build_environment(place)
        print(f"{'on other paths, ns':22}{'none':>10}{'again':>10}{'shims':>10}{'ratio':>8}")
        lines = {call: (call, *rest) for call, rest in WHOLE.items()}
        for line, found in measure(rounds, program, lines, {"none": plain, "again": plain, "shims": shims}).items():
            control = found["again"] / found["none"]
            resolved = 1 / RESOLVED <= control <= RESOLVED
            ratio = f"{found['shims'] / found['none']:8.3f}" if resolved else f"  not resolved (A/A {control:.3f})"
            print(f"{line:22}{found['none']:10.1f}{found['again']:10.1f}{found['shims']:10.1f}{ratio}")
        print(f"\n{'over a stub, ns':30}{'stub':>10}{'again':>10}{'shims':>10}{'more':>8}")
        alone = {**plain, "LD_PRELOAD": str(stub)}
        over = {**shims, "LD_PRELOAD": f"{shims['LD_PRELOAD']}:{stub}"}
        lines = {f"{call} {kind}": (call, count, PATHS[kind]) for call, (count, _) in STUBBED.items() for kind in PATHS}
        for line, found in measure(rounds, program, lines, {"stub": alone, "again": alone, "shims": over}).items():
            more = found["shims"] - found["stub"]
            print(f"{line:30}{found['stub']:10.2f}{found['again']:10.2f}{found['shims']:10.2f}{more:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
