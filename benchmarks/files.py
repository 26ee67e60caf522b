"""What the shims cost file calls on paths that are none of theirs: against no preload, and over a stub of libc.

Each line is measured once a round in each configuration, in random order, in a short process of its own, pinned to one
core. A ratio is the median of the rounds' own ratios, so that what makes a round slow is in both of its numbers; behind
it stands what the median of other rounds might be (95 of 100 draws of them). "again" is the first configuration a
second time: where it differs from the first, nothing smaller is resolved.

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

from rounds import RESOLVED, mean, ratio

from vgpu_harness.host import Host
from vgpu_harness.run import deliver
from vgpu_harness.run.environment import build_environment
from vgpu_harness.run.scratch import scratch
from vgpu_harness.trace import create_trace

HERE = Path(__file__).parent
WHOLE = {
    "open+close": (2_000, "/etc/hostname"),
    "stat": (4_000, "/etc/hostname"),
    "access": (4_000, "/etc/hostname"),
    "read": (20_000, "/etc/hostname"),
    "pread": (10_000, "/etc/hostname"),
    "fopen+fgets+fclose": (1_500, "/etc/hostname"),
    "opendir+readdir": (700, "/etc/alternatives/.."),
    "open+close of the next": (4_096, "next/"),
    "fopen+fgets+fclose of the next": (4_096, "next/"),
}
NEXT = 4096
"""So many files are opened in turn, more than the shim remembers: each as for the first time."""

STUB_ROUNDS = 10
"""One round over the stub for so many against no preload: those numbers are small, and differ less."""

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


Taken = dict[str, dict[str, list[float]]]
"""Nanoseconds by line and configuration, one for each round."""


def measure(
    rounds: int, program: Path, lines: Mapping[str, tuple[str, int, str]], environments: Mapping[str, Mapping[str, str]]
) -> Taken:
    """What all rounds take."""
    taken: Taken = {line: {name: [] for name in environments} for line in lines}
    for _ in range(rounds):
        for line, name in random.sample(pairs := [(a, b) for a in lines for b in environments], len(pairs)):
            call, count, path = lines[line]
            taken[line][name].append(nanoseconds(program, call, count, path, environments[name], program.parent))
    return taken


def whole(rounds: int, program: Path, plain: Mapping[str, str], shims: Mapping[str, Mapping[str, str]]) -> None:
    """Prints the table of calls that reach the kernel."""
    print(f"{'on other paths':32}{'none, ns':>10}{'A/A':>8}" + "".join(f"{name:>26}" for name in shims))
    lines = {call: (call, *rest) for call, rest in WHOLE.items()}
    for line, found in measure(rounds, program, lines, {"none": plain, "again": plain, **shims}).items():
        none = mean(found["none"], found["again"])
        control = ratio(found["again"], found["none"]).median
        text = f"{line:32}{median(none):10.1f}{control:8.3f}"
        for name in shims:
            resolved = 1 / RESOLVED <= control <= RESOLVED
            text += f"{str(ratio(found[name], none)) if resolved else 'not resolved':>26}"
        print(text)


def stubbed(rounds: int, program: Path, stub: Path, plain: Mapping[str, str], shims: Mapping[str, str]) -> None:
    """Prints the table of what is left where libc does nothing."""
    print(f"\n{'over a stub, ns':30}{'stub':>10}{'again':>10}{'shims':>10}{'more':>8}")
    alone = {**plain, "LD_PRELOAD": str(stub)}
    over = {**shims, "LD_PRELOAD": f"{shims['LD_PRELOAD']}:{stub}"}
    lines = {f"{call} {kind}": (call, count, PATHS[kind]) for call, (count, _) in STUBBED.items() for kind in PATHS}
    for line, found in measure(rounds, program, lines, {"stub": alone, "again": alone, "shims": over}).items():
        times = [median(found[name]) for name in ("stub", "again", "shims")]
        print(f"{line:30}" + "".join(f"{time:10.2f}" for time in times) + f"{times[2] - times[0]:8.2f}")


def main(rounds: int) -> None:
    """Prints both tables. The tree lies where a run has it, and then on the disk of the files."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with TemporaryDirectory() as name, scratch(Path(name)) as (memory, _):
        place = Path(name)
        program = compiled(place, "files.c")
        stub = compiled(place, "files_stub.c", "-shared", "-fPIC")
        (place / "files.txt").write_text("a line\n")
        (place / "next").mkdir()
        for number in range(1, NEXT + 1):
            (place / "next" / str(number)).write_text("a line\n")
        trace = create_trace(place / "trace")
        shims = {}
        for where, tree in {"shims": memory / "tree", "tree on the disk": place / "disk" / "tree"}.items():
            home = place / where.replace(" ", "-")
            home.mkdir()
            delivered = deliver(Host(), home, tree=tree)
            shims[where] = build_environment(place, host_image=delivered.image, trace=trace, preload=delivered.preload)
        plain = build_environment(place)
        whole(rounds, program, plain, shims)
        stubbed(max(1, rounds // STUB_ROUNDS), program, stub, plain, shims["shims"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
