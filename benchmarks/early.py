"""What `init = "constructor"` costs: start of a program that never looks, execs in a row; the order of constructors.

Each configuration is timed once a round, in random order, on one core; "shims again" is the A/A control.
Usage: early.py [ROUNDS]
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from vgpu_harness.host import Host
from vgpu_harness.run import deliver
from vgpu_harness.run.delivery import Delivered
from vgpu_harness.run.environment import build_environment
from vgpu_harness.trace import Trace, create_trace

PROGRAM = "/bin/true"
BATCH = 20
CHAIN = 20
"""Programs that are executed one by another: env env env ... true."""

CONSTRUCTOR = """
#include <unistd.h>
__attribute__((constructor)) static void first(void) { access(DEVICE, F_OK); }
int linked(void) { return 0; }
"""
WHOSE = {
    "/dev/nvidiactl": "the shims",
    "/dev/nvidia0": "a library of the program",
    "/dev/nvidia-uvm": "one preloaded before the shims",
    "/dev/nvidia-modeset": "one preloaded behind them",
}
"""Whose constructor it is that looks at a device."""


def seconds(argv: list[str], environment: Mapping[str, str]) -> float:
    """One start and end, the mean of a batch."""
    started = time.perf_counter()
    for _ in range(BATCH):
        os.waitpid(os.posix_spawn(argv[0], argv, environment), 0)
    return (time.perf_counter() - started) / BATCH


def library(place: Path, device: str) -> Path:
    """A library whose constructor looks at this device."""
    source, target = place / "library.c", place / f"lib{Path(device).name}.so"
    source.write_text(CONSTRUCTOR)
    subprocess.run(["cc", "-shared", "-fPIC", f'-DDEVICE="{device}"', "-o", target, source], check=True)
    return target


def order(place: Path, delivered: Delivered) -> list[str]:
    """Whose constructors ran, the first first."""
    linked, before, behind = (library(place, device) for device in list(WHOSE)[1:])
    program, source = place / "program", place / "program.c"
    source.write_text("int linked(void); int main(void) { return linked(); }\n")
    subprocess.run(["cc", "-o", program, source, linked, f"-Wl,-rpath,{place}"], check=True)
    trace = create_trace(place / "order", 1 << 20)
    preload = [str(before), *delivered.preload, str(behind)]
    environment = build_environment(place, host_image=delivered.image, trace=trace, preload=preload)
    subprocess.run([program], env=environment, check=True)
    return [WHOSE[record.text] for record in Trace.open(trace).records if record.text in WHOSE]


def measure(rows: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each row, in seconds."""
    taken: dict[str, list[float]] = {row: [] for row in rows}
    for _ in range(rounds):
        for row in random.sample(list(rows), len(rows)):
            taken[row].append(rows[row]())
    return {row: median(values) for row, values in taken.items()}


def main(rounds: int) -> None:
    """Prints the order of constructors, then the medians in microseconds and their ratio to the shims."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    hosts = {"shims": Host(), "constructor": Host.model_validate({"delivery": {"init": "constructor"}})}
    with TemporaryDirectory() as name:
        place = Path(name)
        environments = {"nothing preloaded": build_environment(place)}
        for row, host in hosts.items():
            (place / row).mkdir()
            delivered = deliver(host, place / row)
            if row == "constructor":
                print("constructors, first to last:", "; ".join(order(place, delivered)))
            trace = create_trace(place / row / "trace", 64 << 20)
            environments[row] = build_environment(
                place, host_image=delivered.image, trace=trace, preload=delivered.preload
            )
        environments["shims again"] = environments["shims"]
        for what, argv in ((PROGRAM, [PROGRAM]), (f"{CHAIN} execs", ["/usr/bin/env"] * CHAIN + [PROGRAM])):
            found = measure({row: partial(seconds, argv, variables) for row, variables in environments.items()}, rounds)
            for row, value in found.items():
                print(f"{what:12}{row:20}{value * 1e6:9.1f} us {value / found['shims']:8.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
