"""What the CUDA runtime stand-ins pass on to the driver: every argument in its place, and the code that comes back.

The driver here is one that has every function they know of and prints what it is given.
"""

import re
import subprocess
from pathlib import Path

import pytest
from support.compile import compile_library, compile_program
from support.runtime import MAJORS, Runtime, header_flags

from vgpu_harness.run import run as run_program
from vgpu_harness.shims.paths import cudalib_path

EACH_MAJOR = pytest.mark.parametrize("major", MAJORS)
SUPPORT = Path(__file__).with_name("support")
LAUNCH_FAILED, NEWER_DRIVER, UNKNOWN_FUNCTION, NOT_SUPPORTED = 719, 36, 98, 801

MEMORY = """
cuDevicePrimaryCtxRetain 40
cuCtxSetCurrent 140
cuMemAllocManaged 11 1
= 0 7001
cuMemHostAlloc 12 0
= 0 7002
cuMemHostAlloc 13 4
= 0 7002
cuMemFreeHost 14
= 0
cuMemHostGetDevicePointer_v2 15 0
= 0 7003
cuMemHostRegister_v2 16 17 2
= 0
cuMemHostUnregister 18
= 0
cuMemsetD8_v2 19 255 20
= 0
cuMemsetD8Async 21 22 23 24
= 0
= 21
cuMemcpyAsync 25 26 27 28
= 0
cuMemcpyHtoDAsync_v2 25 26 27 28
= 0
cuMemcpyDtoHAsync_v2 25 26 27 28
= 0
cuMemcpyDtoDAsync_v2 25 26 27 28
= 0
cuMemcpyAsync 25 26 27 28
= 0
= 21
= 21
cuMemcpy2DAsync_v2 from 1 32 32 41 to 1 31 31 40 size 33 34 at 0 stream 35
= 0
cuMemcpy2DAsync_v2 from 1 32 32 41 to 2 31 31 40 size 33 34 at 0 stream 35
= 0
cuMemcpy2DAsync_v2 from 2 32 32 41 to 1 31 31 40 size 33 34 at 0 stream 35
= 0
cuMemcpy2DAsync_v2 from 2 32 32 41 to 2 31 31 40 size 33 34 at 0 stream 35
= 0
cuMemcpy2DAsync_v2 from 4 32 32 41 to 4 31 31 40 size 33 34 at 0 stream 35
= 0
= 21
= 12
cuDevicePrimaryCtxRetain 41
cuMemcpyPeerAsync 42@141 43@140 44 45
= 0
= 101
cuDeviceCanAccessPeer 40 41
= 0 1
cuCtxEnablePeerAccess 141 0
= 0
cuDevicePrimaryCtxSetFlags_v2 40 132
= 0
cuCtxSynchronize
= 0
"""
STREAMS = """
cuDevicePrimaryCtxRetain 40
cuCtxSetCurrent 140
cuStreamCreate 1
= 0 7010
cuEventCreate 2
= 0 7011
cuEventRecord 7011 7010
= 0
cuEventSynchronize 7011
= 0
cuStreamWaitEvent 7010 7011 1
= 0
cuStreamBeginCapture_v2 7010 2
= 0
cuStreamIsCapturing 7010
= 0 1
cuStreamEndCapture 7010
= 0 7012
cuGraphInstantiateWithFlags 7012 8
= 0 7013
cuGraphExecUpdate_v2 7013 7012
= 0 5
cuGraphLaunch 7013 7010
= 0
cuStreamSynchronize 7010
= 0
cuGraphExecDestroy 7013
= 0
cuGraphDestroy 7012
= 0
cuEventDestroy_v2 7011
= 0
cuStreamDestroy_v2 7010
= 0
"""
KERNELS = """
= 0
= 0
= 6 3 9 10
= 0 3 6 7 8
= 52
cuDevicePrimaryCtxRetain 40
cuCtxSetCurrent 140
cuLibraryLoadData .version 8.0 .target sm_50 .address_size 64 .visible .entry _Z6kernelv() { ret; } 0
cuLibraryGetKernel 7020 _Z6kernelv
cuKernelGetFunction 7021
cuLaunchKernel 7022 grid 1 2 3 block 4 5 6 7 8 argument ARGUMENT extra 0
= 0
= 0
cuKernelGetFunction 7021
cuLaunchKernel 7022 grid 4 5 6 block 1 2 3 9 10 argument ARGUMENT extra 0
= 0
cuKernelGetFunction 7021
cuLaunchCooperativeKernel 7022 grid 1 2 3 block 4 5 6 7 8 argument ARGUMENT
= 0
cuKernelGetFunction 7021
cuLaunchKernelEx 7022 grid 1 2 3 block 4 5 6 7 8 attributes 9 10 argument ARGUMENT extra 0
= 0
cuKernelGetFunction 7021
cuFuncSetAttribute 7022 8 4096
= 0
cuKernelGetFunction 7021
cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags 7022 128 64 1
= 0 3
cuKernelGetFunction 7021
= 0 501 500 514 515
= 98
cuLibraryUnload 7020
= 98
""".replace("= 6 3 9 10", "= 0 6 3 9 10")


def program(major: int) -> Path:
    """The program of cudart_calls.c, linked to a stand-in."""
    library = str(cudalib_path(f"libcudart.so.{major}"))
    return compile_program((SUPPORT / "cudart_calls.c").read_text(), f"calls-{major}", *header_flags(major), library)


def driver(major: int, failing: str = "none", *changes: tuple[str, str]) -> Path:
    """The driver of logging_driver.c; one of its functions fails, or lines of it are others."""
    source = (SUPPORT / "logging_driver.c").read_text()
    for old, new in changes:
        assert source.count(old) == 1
        source = source.replace(old, new)
    return compile_library(source, "libcuda.so.1", *header_flags(major), f"-DFAIL={failing}")


def status(major: int, source: str, *changes: tuple[str, str]) -> int:
    """The exit status of a program on that driver."""
    library = cudalib_path(f"libcudart.so.{major}")
    compiled = compile_program(source, f"on-driver-{major}", *header_flags(major), str(library), "-pthread")
    environment = {"LD_LIBRARY_PATH": f"{driver(major, 'none', *changes).parent}:{library.parent}"}
    return subprocess.run([compiled], env=environment, stdout=subprocess.DEVNULL, timeout=60, check=False).returncode


def lines(major: int, part: str, failing: str = "none") -> list[str]:
    """What the program and the driver print, without the start of the program."""
    path = f"{driver(major, failing).parent}:{cudalib_path(f'libcudart.so.{major}').parent}"
    command = [str(program(major)), part]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env={"LD_LIBRARY_PATH": path}
    )
    first, *rest = [line.rstrip() for line in done.stdout.splitlines()]
    assert (first, done.stderr) == ("main", "")
    return rest


@EACH_MAJOR
@pytest.mark.parametrize(("part", "expected"), [("memory", MEMORY), ("streams", STREAMS), ("kernels", KERNELS)])
def test_every_argument_arrives_in_its_place(major, part, expected):
    """All arguments differ, so one that stands in another's place is seen; nothing is called while a library loads."""
    assert lines(major, part) == expected.strip().splitlines()


def named(text: str) -> list[str]:
    """The driver functions of an expected text."""
    return sorted(set(re.findall(r"^cu\w+", text, re.MULTILINE)))


@EACH_MAJOR
@pytest.mark.parametrize(
    ("part", "function"),
    [(part, name) for part, text in (("memory", MEMORY), ("streams", STREAMS), ("kernels", KERNELS))
     for name in named(text) if name != "cuLibraryUnload"],
)  # fmt: skip
def test_the_code_of_each_driver_function_is_passed_on(major, part, function):
    """A launch that the driver refuses, a copy that fails: the runtime answers the driver's code."""
    said = lines(major, part, function)
    place = next(i for i, line in enumerate(said) if line.split()[0] == function)
    code = next(line for line in said[place:] if line.startswith("= "))
    assert code.split()[1] == str(LAUNCH_FAILED)


@EACH_MAJOR
def test_the_shims_have_each_function_that_streams_need(major, tmp_path):
    """On the shims no call of a stream or an event is refused for want of a newer driver, and none crashes."""
    library = cudalib_path(f"libcudart.so.{major}")
    done = run_program([program(major), "streams"], library_path=[library.parent], directory=tmp_path / "run")
    codes = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("=")]
    assert done.returncode == 0
    assert codes
    assert not set(codes) & {NEWER_DRIVER, NOT_SUPPORTED}


@EACH_MAJOR
def test_thousands_of_kernels_are_registered_without_the_driver(major, tmp_path):
    """As a large library does it at load: no driver call is made until the first question.

    A launch then loads the code and finds the kernel; it is refused, since kernels do not run on the shims.
    """
    asked = Runtime(tmp_path)(major, "runtime")
    assert asked.calls == []
    source = """
        #include "runtime.h"
        static char host[20000];
        static const struct { int magic, version; const void *data; void *file; } code = {0x466243b1, 1,
            ".version 8.0 .target sm_50 .address_size 64 .visible .entry kernel() { ret; }", 0};
        int main(void) {
            dim3 one = {1, 1, 1};
            for (int n = 0; n < 3; n++) {
                void **handle = __cudaRegisterFatBinary((void *)&code);
                for (int i = 0; i < 20000; i++) {
                    __cudaRegisterFunction(handle, host + i, 0, "kernel", -1, 0, 0, 0, 0, 0);
                }
                __cudaRegisterFatBinaryEnd(handle);
                if (cudaLaunchKernel(host + 19999, one, one, 0, 0, 0) != cudaErrorNotSupported) {
                    return 1;
                }
                __cudaUnregisterFatBinary(handle);
                if (cudaLaunchKernel(host + 19999, one, one, 0, 0, 0) != cudaErrorInvalidDeviceFunction) {
                    return 2;
                }
            }
            return 0;
        }
    """
    library = cudalib_path(f"libcudart.so.{major}")
    many = compile_program(source, f"many-{major}", *header_flags(major), str(library))
    done = run_program([many], library_path=[library.parent], directory=tmp_path / "run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@EACH_MAJOR
def test_properties_are_sound_whatever_the_driver_leaves(major):
    """A name without its NUL gets one; an attribute that is refused is 0, whatever was written there."""
    source = """
        #include <string.h>
        #include "runtime.h"
        int main(void) {
            static struct cudaDeviceProp prop;
            if (cudaGetDeviceProperties(&prop, 1) != cudaSuccess || prop.warpSize != 10 || prop.major != 75) {
                return 1;
            }
            return strnlen(prop.name, sizeof prop.name) != 255 ? 2 : prop.integrated != 0 ? 3 : 0;
        }
    """
    name = ('snprintf(name, (size_t)size, "device %d", device) < 0;', "memset(name, device, (size_t)size) == 0;")
    refused = ("GIVE(value, attribute + 0 * device), 0;", "GIVE(value, attribute + 0 * device), attribute == 18;")
    assert status(major, source, name, refused) == 0


@EACH_MAJOR
def test_a_fork_while_code_is_loaded_hurts_no_child(major):
    """The child unregisters the code, as every program does at its end, while the parent's other thread loads it."""
    source = """
        #include <pthread.h>
        #include <sys/wait.h>
        #include <unistd.h>
        #include "runtime.h"
        static char kernel[1];
        static const struct { int magic, version; const void *data; void *file; } code = {0x466243b1, 1, "CODE", 0};
        static void *load(void *unused) {
            struct cudaFuncAttributes found;
            return cudaFuncGetAttributes(&found, kernel) == cudaSuccess ? unused : kernel;
        }
        int main(void) {
            pthread_t thread;
            void *failed;
            int status;
            void **handle = __cudaRegisterFatBinary((void *)&code);
            __cudaRegisterFunction(handle, kernel, 0, "kernel", -1, 0, 0, 0, 0, 0);
            pthread_create(&thread, NULL, load, NULL);
            usleep(100000);
            pid_t child = fork();
            if (child == 0) {
                alarm(10);
                __cudaUnregisterFatBinary(handle);
                _exit(0);
            }
            waitpid(child, &status, 0);
            pthread_join(thread, &failed);
            return status != 0 ? 1 : failed != NULL ? 2 : 0;
        }
    """
    slow = ("    GIVE(library, 7020);", "    usleep(400000);\n    GIVE(library, 7020);")
    assert status(major, source, slow, ("#include <string.h>", "#include <string.h>\n#include <unistd.h>")) == 0


@EACH_MAJOR
def test_kernels_of_nothing_are_refused(major):
    """NULL is no kernel, before any start (measured on 12.8.90 and 13.0.96); a configuration needs all four places."""
    source = """
        #include "runtime.h"
        int main(void) {
            dim3 one = {1, 1, 1}, grid, block;
            size_t shared;
            cudaStream_t stream;
            cudaKernel_t kernel = (cudaKernel_t)&one;
            if (__cudaGetKernel(&kernel, NULL) != cudaErrorInvalidDeviceFunction || kernel != (cudaKernel_t)&one) {
                return 1;
            }
            if (__cudaGetKernel(&kernel, &one) != cudaSuccess || __cudaPushCallConfiguration(one, one, 7, NULL) != 0) {
                return 2;
            }
            if (__cudaPopCallConfiguration(NULL, &block, &shared, &stream) != cudaErrorInvalidValue ||
                __cudaPopCallConfiguration(&grid, NULL, &shared, &stream) != cudaErrorInvalidValue ||
                __cudaPopCallConfiguration(&grid, &block, NULL, &stream) != cudaErrorInvalidValue ||
                __cudaPopCallConfiguration(&grid, &block, &shared, NULL) != cudaErrorInvalidValue) {
                return 3;
            }
            return __cudaPopCallConfiguration(&grid, &block, &shared, &stream) != cudaSuccess || shared != 7;
        }
    """
    assert status(major, source) == 0
