"""NVIDIA's own CUDA runtime, 12.8.90 and 13.0.96 from PyPI, on the shims: where it stops, and with which code.

It runs as it is, as this user and in this file system, for there is nothing that it could touch: up to where it stops
it opens no file but shared libraries (strace of both versions), and the driver library that it finds is the shim.
"""

import dataclasses
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import pytest
from support.compile import compile_program

from vgpu_harness import Host, Run
from vgpu_harness.shims.paths import cudalib_path
from vgpu_harness.trace import Kind, Library, Record

MakeRun = Callable[..., Run]

COUNT = """
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
    void *runtime = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (runtime == NULL) {
        fprintf(stderr, "%s\\n", dlerror());
        return 2;
    }
    int (*count)(int *) = (int (*)(int *))dlsym(runtime, "cudaGetDeviceCount");
    int (*version)(int *) = (int (*)(int *))dlsym(runtime, "cudaRuntimeGetVersion");
    int devices = -1, number = -1;
    int code = count(&devices);
    version(&number);
    printf("%d %d %d", code, devices, number);
    return 0;
}
"""

WORDS = """
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
    void *runtime = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (runtime == NULL) {
        return 2;
    }
    const char *(*name)(int) = (const char *(*)(int))dlsym(runtime, "cudaGetErrorName");
    const char *(*text)(int) = (const char *(*)(int))dlsym(runtime, "cudaGetErrorString");
    for (int code = -2; code < 11000; code++) {
        printf("%d %s %s\\n", code, name(code), text(code));
    }
    return 0;
}
"""

# NVIDIA's private tables, by the names that they have in public projects.
CUDART_INTERFACE = "6bd5fb6c-5bf4-e74a-8987-d93912fd9df9"
BEFORE_INIT = "f8cff951-2146-8b4e-b9e2-fb469e7c0dd9"

BOTH = (12, 13)
both = pytest.mark.parametrize("major", BOTH)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What cudaGetDeviceCount answered, and the driver calls that the runtime made for it."""

    code: int
    devices: int
    version: int
    calls: list[Record]

    @property
    def last(self) -> str:
        """The last driver call, but for the table that 13.0 asks for before cuInit and goes on without."""
        return next((call.name for call in reversed(self.calls) if call.text != BEFORE_INIT), "")


@pytest.fixture(scope="module")
def count() -> Path:
    """A program that calls cudaGetDeviceCount of the library that it is given."""
    return compile_program(COUNT, "count-devices", "-ldl")


@pytest.fixture
def ask(vgpu_run: MakeRun, count: Path) -> Callable[..., Answer]:
    """``ask(library, **host) -> Answer``: cudaGetDeviceCount of a runtime library on a host."""

    def asked(library: Path, **host: Any) -> Answer:
        run = vgpu_run([count, library], host=Host.model_validate(host), check_mapped=False)
        assert run.returncode == 0, run.explain()
        calls = [r for r in run.trace.records if r.library == Library.CUDA and r.kind == Kind.CALL]
        return Answer(*map(int, run.stdout.split()), calls)

    return asked


@both
def test_versions(ask: Callable[..., Answer], major: int) -> None:
    """The libraries are the ones that the measurements in this file are of."""
    assert ask(foreign.cudart(major)).version == {12: 12080, 13: 13000}[major]


@both
def test_it_stops_at_the_first_private_table(ask: Callable[..., Answer], major: int) -> None:
    """After cuInit it asks for CUDART_INTERFACE, which nobody but NVIDIA has, and passes on the driver's code 1."""
    answer = ask(foreign.cudart(major))
    assert (answer.code, answer.last, answer.calls[-1].text) == (1, "cuGetExportTable", CUDART_INTERFACE)
    assert answer.calls[-1].result == 1
    names = [call.name for call in answer.calls]
    assert names.count("cuInit") == 1
    assert names.count("cuDeviceGetCount") == 0
    # The first request asks for nothing (a probe); the others are those of all the runtime's driver calls.
    requests = [call for call in answer.calls if call.name.startswith("cuGetProcAddress")]
    assert len(requests) == {12: 419, 13: 440}[major]


@both
def test_another_table_is_asked_for_before_cuinit(ask: Callable[..., Answer], major: int) -> None:
    """13.0 asks for one more table before cuInit and goes on without it; 12.8 does not."""
    calls = ask(foreign.cudart(major)).calls
    before = calls[: [call.name for call in calls].index("cuInit")]
    tables = [call.text for call in before if call.name == "cuGetExportTable"]
    assert tables == ([BEFORE_INIT] if major == 13 else [])


@both
@pytest.mark.parametrize("code", [1, 500, 801])
def test_the_tables_code_is_passed_on(ask: Callable[..., Answer], major: int, code: int) -> None:
    """Whatever cuGetExportTable answers for CUDART_INTERFACE, cudaGetDeviceCount answers."""
    answer = ask(foreign.cudart(major), faults=[{"function": "cuGetExportTable", "result": code}])
    assert (answer.code, answer.last) == (code, "cuGetExportTable")


def fault(**keys: Any) -> dict[str, Any]:
    """A host with one fault."""
    return {"faults": [keys]}


# What comes before the tables: host, the code by major version, the last driver call.
TOO_OLD = 35
ROWS: dict[str, tuple[dict[str, Any], dict[int, int], str]] = {
    "no-library": ({"delivery": {"preload": ["syscall", "nvml"], "links": []}}, {12: 35, 13: 35}, ""),
    "soname": (
        {"delivery": {"links": []}, **fault(library="cuda", soname="libcudb.so.1")}, {12: 35, 13: 35}, "",
    ),
    "driver-11.8": ({"driver": {"cuda": "11.8"}}, {12: 35, 13: 35}, "cuDriverGetVersion"),
    "driver-12.9": ({"driver": {"version": "575.51.03"}}, {13: 35}, "cuDriverGetVersion"),
    "version-value": (fault(function="cuDriverGetVersion", value=11999), {12: 35, 13: 35}, "cuDriverGetVersion"),
    "version-fails": (fault(function="cuDriverGetVersion", result=999), {12: 35, 13: 35}, "cuDriverGetVersion"),
    "no-version": (fault(library="cuda", missing_symbol="cuDriverGetVersion"), {12: 35, 13: 35}, "cuGetProcAddress"),
    "no-init": (fault(library="cuda", missing_symbol="cuInit"), {12: 36, 13: 36}, "cuDriverGetVersion"),
    **{
        f"init-{code}": (fault(function="cuInit", result=code), {12: code, 13: code}, "cuInit")
        for code in (3, 100, 101, 802, 803, 999)
    },
}  # fmt: skip
CASES = [(name, major) for name, (_, codes, _) in ROWS.items() for major in codes]


@pytest.mark.parametrize(("row", "major"), CASES)
def test_before_the_tables(ask: Callable[..., Answer], row: str, major: int) -> None:
    """NVIDIA's runtime stops with the measured code at the measured call, and our stand-in does the same."""
    host, codes, last = ROWS[row]
    for library in (foreign.cudart(major), cudalib_path(f"libcudart.so.{major}")):
        answer = ask(library, **host)
        assert (answer.code, re.sub("_v2$", "", answer.last)) == (codes[major], last), library
        assert answer.devices in (-1, 0)


@both
def test_the_stand_in_goes_on_where_nvidias_stops(ask: Callable[..., Answer], major: int) -> None:
    """On a sound host the stand-in counts the device: the rows above stop for their fault, not for the stand-in."""
    answer = ask(cudalib_path(f"libcudart.so.{major}"))
    assert (answer.code, answer.devices) == (0, 1)


@both
def test_names_and_texts_of_the_codes(major: int) -> None:
    """cudaGetErrorName and cudaGetErrorString of the stand-in answer for every number what NVIDIA's do."""
    program = compile_program(WORDS, "error-words", "-ldl")
    theirs, ours = (
        subprocess.run([program, library], capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
        for library in (foreign.cudart(major), cudalib_path(f"libcudart.so.{major}"))
    )
    assert "802 cudaErrorSystemNotReady system not yet initialized" in theirs
    assert ours == theirs


def test_a_driver_of_the_same_major_version_is_new_enough(ask: Callable[..., Answer]) -> None:
    """12.8 accepts a driver of 12.0, and comes as far as the tables."""
    host = {"driver": {"version": "525.60.13"}}
    assert ask(foreign.cudart(12), **host).last == "cuGetExportTable"
    assert ask(cudalib_path("libcudart.so.12"), **host).devices == 1
