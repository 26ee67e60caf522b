"""All four shims in one process, called where few programs call: before main, behind it, and in the middle of a call.

What each situation sees of CUDA, NVML and files is what main sees, as the first use of the shims ("cold") and as a
later one ("warm"). The exceptions are each named below.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.compile import compile_library, compile_program
from test_syscall_files import Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Host
from vgpu_harness.host.model import PRELOAD_ORDER
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import Kind, Library, Trace

SUPPORT = Path(__file__).with_name("support")
FILES = "file 1 0x2331 access 1 device 1 own 1 errno 77"
SEEN = f"cuda 0 0 1 nvml 0 0 1 {FILES}"
"""The answers and counts of cuInit and cuDeviceGetCount, then NVML's, the GPU's device file, and errno as it was."""

Build = Callable[..., Path]


def with_all(machine: Machine) -> Machine:
    """The same, with all shims preloaded."""
    preload = ":".join(str(shim_path(name)) for name in PRELOAD_ORDER)
    return replace(machine, environment=machine.environment | {"LD_PRELOAD": preload})


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """The default host, with all shims."""
    return with_all(make_machine(Host()))


def program(*flags: str) -> Path:
    """The program, which is linked to the two libraries of the driver."""
    source = (SUPPORT / "situation.c").read_text(encoding="utf-8")
    driver = [str(shim_path(name)) for name in ("cuda", "nvml")]
    return compile_program(source, "situation", f"-I{SUPPORT}", "-pthread", "-rdynamic", *flags, *driver)


def library(*, linked: bool) -> Path:
    """The library with constructor and destructor; linked to the driver, its constructor runs behind the shims'."""
    source = (SUPPORT / "situation_library.c").read_text(encoding="utf-8")
    driver = [str(shim_path(name)) for name in ("cuda", "nvml")] if linked else []
    return compile_library(source, "libsituation.so", f"-I{SUPPORT}", "-pthread", *driver)


def told(machine: Machine, *words: str | Path, **variables: str) -> dict[str, str]:
    """What the program tells of each place, by place; the run went well."""
    run = machine.run(*words, shim=True, **variables)
    assert (run.returncode, run.stderr) == (0, ""), run
    return dict(line.split(": ", 1) if ": " in line else line.split(" ", 1) for line in run.stdout.splitlines())


@pytest.mark.parametrize("start", ["cold", "warm"])
class TestSituation:
    @pytest.mark.parametrize(
        ("what", "place"),
        [("main", "main"), ("thread", "thread"), ("handler", "handler"), ("key", "key destructor")],
    )
    def test_is_like_main(self, machine: Machine, what: str, place: str, start: str) -> None:
        """A thread, a handler on an alternate stack and a key destructor in a thread's teardown see all."""
        lines = told(machine, program(), what, start)
        assert lines == {place: SEEN} | ({"main": SEEN} if start == "warm" else {})

    def test_of_a_vfork_child(self, machine: Machine, start: str) -> None:
        """A child that runs in its parent's memory sees all, and leaves its parent everything as it was."""
        lines = told(machine, program(), "vfork", start)
        assert (lines["vfork child"], lines["its parent"]) == (SEEN, SEEN)

    def test_of_children_forked_amid_calls(self, machine: Machine, start: str) -> None:
        """None of 40 children forked while threads are in calls hangs; CUDA is not initialised there, all else is."""
        lines = told(machine, program(), "forked", start)
        assert lines["forked child"] == f"cuda 3 3 -1 nvml 0 0 1 {FILES}"
        assert (lines["its parent"], lines["good"]) == (SEEN, "40")

    def test_behind_main(self, machine: Machine, start: str) -> None:
        """An atexit handler sees all; a destructor of the program runs behind CUDA's own end (DEINITIALIZED)."""
        lines = told(machine, program(), "exit", start)
        assert (lines["atexit"], lines["destructor"]) == (SEEN, f"cuda 4 4 -1 nvml 0 0 1 {FILES}")

    @pytest.mark.parametrize(
        ("way", "linked"), [("alone", False), ("alone", True), ("together", False), ("joined", False)]
    )
    def test_inside_dlopen(self, machine: Machine, way: str, linked: bool, start: str) -> None:
        """A constructor that holds the loader's lock sees all, as do a thread beside it and one that it waits for."""
        what = "together" if way == "together" else "dlopen"
        lines = told(machine, program(), what, start, library(linked=linked), SITUATION_LIBRARY=way)
        places = {"constructor", "destructor of a library"}
        places |= {"together": {"beside a constructor"}, "joined": {"thread of a constructor"}}.get(way, set())
        assert lines == dict.fromkeys(places | ({"main"} if start == "warm" else set()), SEEN)


class TestConstructors:
    @pytest.mark.parametrize(
        ("place", "linked"),
        [("before", False), ("before", True), ("behind", False), ("behind", True), ("program", False)],
    )
    def test_may_call_first(self, machine: Machine, place: str, linked: bool) -> None:
        """A library's constructor sees all, wherever it is preloaded or linked: before the shims' own or later."""
        first = library(linked=linked)
        shims = machine.environment["LD_PRELOAD"]
        preload = {"before": f"{first}:{shims}", "behind": f"{shims}:{first}", "program": shims}[place]
        needed = ["-Wl,--no-as-needed", str(first), f"-Wl,-rpath,{first.parent}"] if place == "program" else []
        lines = told(machine, program(*needed), "none", "cold", LD_PRELOAD=preload, SITUATION_LIBRARY="alone")
        assert lines["constructor"] == SEEN
        assert lines["destructor of a library"].endswith(f"nvml 0 0 1 {FILES}")

    def test_run_too_early_for_the_gate(self, machine: Machine) -> None:
        """What runs before libc's start (.preinit_array) is refused, sees real files, and spoils nothing for main."""
        early = program("-DPREINIT")
        lines = told(machine, early, "main", "cold")
        without = told(machine, early, "main", "cold", VGPU_HOST="")
        assert lines["main"] == SEEN
        assert lines["preinit"].startswith("cuda 3 3 -1 nvml 1 1 99 file ")
        assert lines["preinit"].partition("file")[2] == without["preinit"].partition("file")[2]


class TestHandlers:
    @pytest.mark.parametrize("start", ["cold", "warm"])
    def test_on_the_smallest_stack(self, machine: Machine, start: str) -> None:
        """A handler that opens a file of its own finds room on 8 KiB (SIGSTKSZ of old headers), first call or not."""
        assert told(machine, program(), "handler", start, "small")["handler"] == "own 1"

    def test_inside_calls(self, machine: Machine) -> None:
        """Handlers that interrupt calls at 300 places never hang: they see all, or are refused by that library."""
        lines = told(machine, program(), "interrupted", "warm")
        assert (lines["interrupted"], lines["wrong"]) == (SEEN, "0")

    def test_inside_the_lock(self, machine: Machine) -> None:
        """Where this thread holds the lock, a call answers "not initialised" at once; the next one is served again."""
        from vgpu_harness._wire import ffi, lib

        process = lib.vgpu_process_new(machine.environment["VGPU_HOST"].encode(), ffi.NULL)
        child = os.fork()
        if child == 0:
            signal.alarm(5)  # who waits for the lock waits for ever
            try:
                answers = [lib.vgpu_call_cuInit(process, 0)]
                lib.vgpu_lock(process)
                answers += [lib.vgpu_call_cuInit(process, 0), lib.vgpu_call_nvmlInit_v2(process)]
                lib.vgpu_unlock(process)
                answers.append(lib.vgpu_call_cuInit(process, 0))
            finally:
                os._exit(0 if answers == [0, 3, 1, 0] else 1)
        assert os.waitpid(child, 0)[1] == 0
        lib.vgpu_process_free(process)


class TestControls:
    def test_without_a_host_nothing_is_seen(self, machine: Machine) -> None:
        """The line that all situations tell is the host's doing."""
        assert told(machine, program(), "main", "cold", VGPU_HOST="")["main"].startswith("cuda 100 3 -1 nvml 9 1 99 ")

    def test_a_library_that_asks_dlsym_hangs_inside_dlopen(self, machine: Machine) -> None:
        """A peer that looks its real functions up by dlsym waits for the loader's lock: the test above can fail."""
        source = (SUPPORT / "preloaded.c").read_text(encoding="utf-8")
        peer = compile_library(source, "libpeer.so", '-DNAME="peer"', "-pthread")
        preload = f"{peer}:{machine.environment['LD_PRELOAD']}"
        words = (program(), "dlopen", "soon", library(linked=False))
        assert machine.run(*words, LD_PRELOAD=preload, SITUATION_LIBRARY="joined").returncode == -signal.SIGALRM


def test_first_use_is_recorded_once(make_machine: MakeMachine) -> None:  # noqa: F811
    """A constructor and a thread that come first together set each shim up once."""
    machine = with_all(make_machine(Host()))
    told(machine, program(), "together", "cold", library(linked=False), SITUATION_LIBRARY="together")
    records = Trace.open(machine.directory / "trace").records
    started = [record.library for record in records if record.kind == Kind.INIT]
    assert sorted(started) == sorted([Library.CUDA, Library.NVML, Library.SYSCALL])
