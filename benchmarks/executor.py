"""How many sequences of calls a second the isolated executor does on one core, beside a subprocess for each.

This process and all it starts are pinned to one core. Every line is measured once a round, in random order, so that a
slow moment of the machine hits all of them. Usage: executor.py [ROUNDS]
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

from vgpu_harness.fuzz import Call, Executor, Kept, Memory
from vgpu_harness.host import Host
from vgpu_harness.run import deliver
from vgpu_harness.run.environment import build_environment

SEQUENCES = 2000
PROCESSES = 200

ONE = (Call("cuInit", (0,)),)
EIGHT = (
    *ONE,
    Call("cuDeviceGetCount", (Memory(4),)),
    Call("cuDeviceGetName", (Memory(64), 64, 0)),
    Call("nvmlInit_v2"),
    Call("nvmlDeviceGetCount_v2", (Memory(4),)),
    Call("cuCtxCreate_v2", (Memory(8, keep=1), 0, 0)),
    Call("cuMemGetInfo_v2", (Memory(8), Memory(8))),
    Call("cuCtxDestroy_v2", (Kept(1),)),
)


class Rate(NamedTuple):
    """How often a second by the clock, and how often in a second of processor time, on a machine that others use."""

    clock: float
    processor: float


def used(executors: Iterable[Executor]) -> float:
    """Seconds of processor time: this process's, its ended children's, the executors' and all of their children's."""
    processes = [psutil.Process(), *(psutil.Process(executor.pid) for executor in executors)]
    return sum(sum(process.cpu_times()[:4]) for process in processes)


def rate(count: int, action: Callable[[], object], executors: Iterable[Executor] = ()) -> Rate:
    """The rate of something that `action` does so many times."""
    used_before, started = used(executors), time.perf_counter()
    action()
    return Rate(count / (time.perf_counter() - started), count / (used(executors) - used_before))


def processes(place: Path) -> None:
    """A program that calls nothing, started under the shims, again and again."""
    delivered = deliver(Host(), place)
    environment = build_environment(place, host_image=delivered.image, preload=delivered.preload)
    for _ in range(PROCESSES):
        subprocess.run(["/bin/true"], env=environment, check=True)


def in_session(executor: Executor) -> None:
    """One process that is asked call by call."""
    with executor.session() as session:
        for _ in range(SEQUENCES):
            session.call(EIGHT[1])


def measure(executor: Executor, traced: Executor) -> dict[str, Rate]:
    """One round: the rate of each line."""

    def run(calls: tuple[Call, ...], on: Executor = executor) -> Callable[[], Rate]:
        return lambda: rate(SEQUENCES, lambda: list(on.run_many([calls] * SEQUENCES)), [on])

    with TemporaryDirectory() as name:
        lines: dict[str, Callable[[], Rate]] = {
            "subprocess under the shims": lambda: rate(PROCESSES, lambda: processes(Path(name))),
            "no call": run(()),
            "cuInit": run(ONE),
            "8 calls of both APIs": run(EIGHT),
            "8 calls, traced": run(EIGHT, traced),
            "steps of a session": lambda: rate(SEQUENCES, lambda: in_session(executor), [executor]),
        }
        found = {line: lines[line]() for line in random.sample(list(lines), len(lines))}
    return {line: found[line] for line in lines}


def main(rounds: int) -> None:
    """Prints for each line the median rate, the least and the most, that in processor time, and the ratio."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rates: dict[str, list[Rate]] = {}
    with TemporaryDirectory() as place, Executor() as executor, Executor(trace=Path(place) / "trace") as traced:
        for _ in range(rounds):
            for line, found in measure(executor, traced).items():
                rates.setdefault(line, []).append(found)
    base = next(iter(rates.values()))
    for line, found in rates.items():
        clock = [one.clock for one in found]
        ratio = median(one.clock / other.clock for one, other in zip(found, base, strict=True))
        print(
            f"{line:28} {median(clock):6.0f}/s, {min(clock):.0f} to {max(clock):.0f}; "
            f"{median(one.processor for one in found):.0f} in a second of processor time; x {ratio:.1f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
