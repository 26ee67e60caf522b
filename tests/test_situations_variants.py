"""What other shims have had and ours have not, where a host asks: start-up in a constructor, a dlopen wrapper."""

from pathlib import Path

import pytest
from support.compile import compile_library, compile_program
from test_syscall_files import Machine

from vgpu_harness.errors import ShimError
from vgpu_harness.host import Host
from vgpu_harness.run import deliver
from vgpu_harness.shims import SHIMS, available, shim_path
from vgpu_harness.shims.elf import read_elf
from vgpu_harness.shims.paths import variant_path
from vgpu_harness.shims.wrapper import fill_in
from vgpu_harness.trace import Kind, Library, Record, Trace, create_trace

STARTED = {Library.CUDA, Library.NVML, Library.SYSCALL}
TELLS_WHEN = """
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>
int main(void) {
    int first = errno;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(RTLD_DEFAULT, "cuInit");
    int (*start)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "nvmlInit_v2");
    printf("%lld%09ld %d %d %d\\n", (long long)now.tv_sec, now.tv_nsec, first, init(0), start());
    return 0;
}
"""
OPENS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words) {
    for (int i = 1; i + 1 < count; i += 2) {
        for (int n = atoi(words[i]); n > 0; n--) {
            struct link_map *map = NULL;
            void *handle = dlopen(words[i + 1], RTLD_LAZY);
            if (handle != NULL) {
                dlinfo(handle, RTLD_DI_LINKMAP, &map);
            }
            printf("%s\\n", map != NULL ? map->l_name : "none");
        }
    }
    return 0;
}
"""
CALLER = """
#include <dlfcn.h>
#include <stdio.h>
void open_it(void) { printf("%s\\n", dlopen("libneeded.so", RTLD_NOW) != NULL ? "found" : dlerror()); }
"""
# No compiler makes a jump of a call that something follows.
CALLING_WRAPPER = """
#define _GNU_SOURCE
#include <dlfcn.h>
void *dlopen(const char *file, int mode) {
    void *(*next)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    void *volatile handle = next(file, mode);
    return handle;
}
"""


def machine_of(directory: Path, **delivery: object) -> Machine:
    """A host with this delivery, and what its programs are given."""
    directory.mkdir(exist_ok=True)
    delivered = deliver(Host.model_validate({"delivery": delivery}), directory)
    create_trace(directory / "trace", 1 << 20)
    preload = ":".join(delivered.preload)
    variables = {"VGPU_HOST": str(delivered.image), "VGPU_TRACE": str(directory / "trace")}
    return Machine(directory, variables | ({"LD_PRELOAD": preload} if preload else {}))


def records(machine: Machine, kind: Kind) -> list[Record]:
    """All records of a kind."""
    return [record for record in Trace.open(machine.directory / "trace").records if record.kind == kind]


class TestInit:
    @pytest.mark.parametrize("init", ["constructor", "first-call"])
    def test_is_before_main_only_in_a_constructor(self, tmp_path: Path, init: str) -> None:
        """The INIT records of CUDA and NVML come before main with a constructor, and else behind its start."""
        machine = machine_of(tmp_path, init=init)
        run = machine.run(compile_program(TELLS_WHEN, "tells-when"))
        when, first, *answers = map(int, run.stdout.split())
        assert (run.returncode, run.stderr, first, answers) == (0, "", 0, [0, 0])
        started = {record.library: record.time_ns < when for record in records(machine, Kind.INIT)}
        assert started == dict.fromkeys(started, init == "constructor")
        assert started.keys() == (STARTED if init == "constructor" else {Library.CUDA, Library.NVML})

    def test_is_in_programs_that_never_look(self, tmp_path: Path) -> None:
        """/bin/true starts every shim and initialises the driver with a constructor; else it leaves no record."""
        early, late = (machine_of(tmp_path / init, init=init) for init in ("constructor", "first-call"))
        for machine in (early, late):
            run = machine.run("/bin/true")
            assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
        assert {record.library for record in records(early, Kind.INIT)} == STARTED
        assert {record.name for record in records(early, Kind.CALL)} == {"cuInit", "nvmlInit_v2", "access"}
        assert len(Trace.open(late.directory / "trace").records) == 0

    def test_bears_missing_shims(self, tmp_path: Path) -> None:
        """A constructor without a driver to start does nothing."""
        machine = machine_of(tmp_path, preload=["exec"], init="constructor")
        run = machine.run("/bin/true")
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


class TestDlopenWrapper:
    def test_leads_to_the_shims_behind_the_first_calls(self, tmp_path: Path) -> None:
        """Twenty calls of a process go by; those behind them open the shims, by both names, whatever the directory."""
        machine = machine_of(tmp_path, preload=[], dlopen_wrapper=20)
        program = compile_program(OPENS, "opens")
        words = ["17", "libm.so.6", "3", "libcuda.so.1", "1", "libcuda.so.1", "1", "/no/libnvidia-ml.so.1"]
        run = machine.run(program, *words, "1", "libm.so.6", "1", "libcuda.so.2")
        *first, cuda, nvml, other, none = run.stdout.splitlines()
        assert [Path(line).name for line in first] == ["libm.so.6"] * 17 + ["none"] * 3
        assert (Path(cuda).resolve(), Path(nvml).resolve()) == (shim_path("cuda"), shim_path("nvml"))
        assert (Path(other).name, none) == ("libm.so.6", "none")

    def test_is_in_the_trace(self, tmp_path: Path) -> None:
        """Each call that names one of the two is a record: how many came before, how many go by, was it led?"""
        machine = machine_of(tmp_path, preload=[], dlopen_wrapper=1)
        machine.run(compile_program(OPENS, "opens"), "2", "libcuda.so.1", "1", "libm.so.6", "1", "libnvidia-ml.so.1")
        found = [(record.text, record.inputs) for record in records(machine, Kind.CALL) if record.name == "dlopen"]
        names = ("libcuda.so.1", "libcuda.so.1", "libnvidia-ml.so.1")
        assert found == list(zip(names, [(0, 1, 0), (1, 1, 1), (3, 1, 1)], strict=True))

    def test_is_in_no_other_host(self, tmp_path: Path) -> None:
        """Without the key, dlopen is libc's: no shim, auditor included, has a name of the loader's."""
        loaders = {"dlopen", "dlmopen", "dlsym", "dlvsym", "dlclose"}
        exported = {name: read_elf(path).exported & loaders for name, path in available().items()}
        assert exported == {name: frozenset() for name in SHIMS}
        assert read_elf(variant_path("dlopen")).exported == {"dlopen"}
        assert "dlopen" not in machine_of(tmp_path).environment["LD_PRELOAD"]

    def test_leaves_the_callers_runpath(self, tmp_path: Path) -> None:
        """A library finds what lies in its own RUNPATH through a wrapper that jumps, and not through one that calls."""
        needed = compile_library("int needed;", "libneeded.so")
        runpath = ("-Wl,--enable-new-dtags", f"-Wl,-rpath,{needed.parent}")
        caller = compile_library(CALLER, "libcaller.so", *runpath)
        source = "void open_it(void);\nint main(void) { open_it(); return 0; }"
        program = compile_program(source, "asks", str(caller), f"-Wl,-rpath,{caller.parent}")
        machine = machine_of(tmp_path, preload=[], dlopen_wrapper=0)
        assert machine.run(program).stdout == "found\n"
        calling = compile_library(CALLING_WRAPPER, "libcalling.so", "-O0")
        assert "cannot open shared object file" in machine.run(program, LD_PRELOAD=str(calling)).stdout


class TestSettings:
    def test_are_refused_by_another_library(self, tmp_path: Path) -> None:
        """A file without their place is not written to."""
        copy = tmp_path / "other.so"
        copy.write_bytes(shim_path("exec").read_bytes())
        with pytest.raises(ShimError, match="has no place for the settings"):
            fill_in(copy, 20, tmp_path)
        assert copy.read_bytes() == shim_path("exec").read_bytes()

    def test_have_an_end(self, tmp_path: Path) -> None:
        """A directory that does not fit is refused."""
        copy = tmp_path / "libvgpu-dlopen.so"
        copy.write_bytes(variant_path("dlopen").read_bytes())
        with pytest.raises(ShimError, match="room for 3839"):
            fill_in(copy, 20, "/" + "x" * 3839)

    def test_of_no_variant(self) -> None:
        """Only the variants have such a path."""
        with pytest.raises(ShimError, match="known are early, dlopen"):
            variant_path("cuda")
