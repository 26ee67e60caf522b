"""The shipped file in a process: loaded from a private copy, as often as one likes, under whatever is preloaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.compile import compile_library

from vgpu_harness._wire import ffi
from vgpu_harness.errors import ShimError
from vgpu_harness.host import Gpu, Host, write_image, write_tree
from vgpu_harness.shims.shipped import Shipped
from vgpu_harness.trace import Kind, Trace, create_trace

NOT_INITIALIZED = 3
NO_DEVICE = 100
LIAR = """
int cuInit(unsigned flags) { (void)flags; return 42; }
int cuDeviceGetCount(int *count) { *count = 42; return 42; }
int nvmlInit_v2(void) { return 42; }
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A host with three GPUs."""
    host = Host(gpu=[Gpu(pci=f"0000:0{n}:00.0") for n in (1, 2, 3)])  # type: ignore[arg-type]
    return write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "host.image")


def init(library: Shipped) -> int:
    """cuInit(0)."""
    return int(library.function("cuInit", "int(*)(unsigned int)")(0))


def count(library: Shipped) -> tuple[int, int]:
    """cuDeviceGetCount: (code, count)."""
    out = ffi.new("int *")
    code = library.function("cuDeviceGetCount", "int(*)(int *)")(out)
    return int(code), int(out[0])


def test_the_shipped_file_answers(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Host and trace are those that were given, not those of the environment, which is as it was afterwards."""
    monkeypatch.setenv("VGPU_HOST", "/somebody/else")
    monkeypatch.delenv("VGPU_TRACE", raising=False)
    trace = create_trace(tmp_path / "trace", 1 << 20)
    with Shipped("cuda", image, trace=trace) as library:
        assert init(library) == 0
        assert count(library) == (0, 3)
    assert os.environ["VGPU_HOST"] == "/somebody/else"
    assert "VGPU_TRACE" not in os.environ
    assert [record.name for record in Trace.open(trace) if record.kind == Kind.CALL] == ["cuInit", "cuDeviceGetCount"]


def test_without_an_image_it_is_transparent(monkeypatch: pytest.MonkeyPatch, image: Path) -> None:
    """None means none, even if the environment has one."""
    monkeypatch.setenv("VGPU_HOST", str(image))
    with Shipped("cuda") as library:
        assert init(library) == NO_DEVICE


def test_twenty_live_copies_have_states_of_their_own(image: Path) -> None:
    """Every second one is initialised; each answers for itself."""
    libraries = [Shipped("cuda", image) for _ in range(20)]
    try:
        for library in libraries[::2]:
            assert init(library) == 0
        answers = [count(library)[0] for library in libraries]
        assert answers == [0, NOT_INITIALIZED] * 10
    finally:
        for library in libraries:
            library.close()


CYCLES = """
import os, sys
from vgpu_harness._wire import ffi
from vgpu_harness.shims.shipped import Shipped

def held():
    with open("/proc/self/maps") as maps:
        return len(maps.readlines()), len(os.listdir("/proc/self/fd"))

image, trace, before = sys.argv[1], sys.argv[2], None
for cycle in range(510):
    with Shipped("cuda", image, trace=trace) as library:
        assert library.function("cuInit", "int(*)(unsigned int)")(0) == 0
    if cycle == 9:
        before = held()
print(before, held())
assert not any("libvgpu" in line for line in open("/proc/self/maps"))
assert held()[0] <= before[0] + 5 and held()[1] == before[1], (before, held())
"""


def test_five_hundred_loads_leave_nothing(image: Path, tmp_path: Path) -> None:
    """No descriptor and no mapping is left: neither the library's own nor the image's and the trace's."""
    trace = create_trace(tmp_path / "trace", 1 << 20)
    done = subprocess.run(
        [sys.executable, "-c", CYCLES, image, trace], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout


LIED_TO = """
import ctypes, sys
from vgpu_harness._wire import ffi
from vgpu_harness.shims.inprocess import Cuda, Nvml
from vgpu_harness.shims.shipped import Shipped

image = sys.argv[1]
everybody = ctypes.CDLL(None)
answers = [everybody.cuInit(0), everybody.nvmlInit_v2()]
with Cuda(image) as cuda, Nvml(image) as nvml, Shipped("cuda", image) as shipped:
    answers += [cuda.init(), cuda.device_count()[1], nvml.init(), nvml.device_count()[1]]
    answers.append(shipped.function("cuInit", "int(*)(unsigned int)")(0))
    count = ffi.new("int *")
    answers.append(shipped.function("cuDeviceGetCount", "int(*)(int *)")(count))
    answers.append(count[0])
print(answers)
"""


def test_a_lying_preload_is_not_believed(image: Path) -> None:
    """With a preloaded libcuda.so.1 that answers 42, the module and a private copy call their own code."""
    liar = compile_library(LIAR, "libcuda.so.1")
    done = subprocess.run(
        [sys.executable, "-c", LIED_TO, image],
        env=os.environ | {"LD_PRELOAD": str(liar)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", "[42, 42, 0, 3, 0, 3, 0, 0, 3]\n")


def test_a_users_library_is_loaded_by_path() -> None:
    """Any library can be asked; what it does not export, or cannot be loaded, is a ShimError."""
    liar = compile_library(LIAR, "libcuda.so.1")
    with Shipped(liar) as library:
        assert init(library) == 42
        with pytest.raises(ShimError, match="does not export 'cuNothing'"):
            library.function("cuNothing", "int(*)(void)")
    with pytest.raises(ShimError, match="is closed"):
        init(library)
    with pytest.raises(ShimError, match="cannot be loaded"):
        Shipped(__file__)
    with pytest.raises(ShimError, match="cannot be loaded"):
        Shipped("/nowhere/libcuda.so")


def test_a_function_outlives_its_library_as_an_error(image: Path) -> None:
    """A function that was kept does not jump into unmapped memory."""
    library = Shipped("cuda", image)
    kept = library.function("cuInit", "int(*)(unsigned int)")
    assert kept(0) == 0
    library.close()
    library.close()
    with pytest.raises(ShimError, match="is closed"):
        kept(0)
