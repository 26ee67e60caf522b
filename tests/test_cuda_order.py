"""Every CUDA entry point before cuInit, after it, without a host, and with nothing for arguments."""

import pytest
from support.entries import ALWAYS, INIT, INITIALISED, READY, Marked, call_with, entries, in_child, nothing, zeros

from vgpu_harness.shims.inprocess import Cuda

SUCCESS, INVALID_VALUE, NOT_INITIALIZED, NO_DEVICE, NOT_FOUND = 0, 1, 3, 100, 500

ENTRIES = entries("cuda")
NEEDS_INIT = [name for name, when in ENTRIES.items() if when == INITIALISED]


def test_the_set_that_works_before_init_is_cuda_hs():
    """What cuda.h does not list NOT_INITIALIZED for, of the functions that are here, and nothing else."""
    free = {name for name, when in ENTRIES.items() if when in {ALWAYS, READY, INIT}}
    assert free == {
        "cuInit",
        "cuDriverGetVersion",
        "cuGetErrorString",
        "cuGetErrorName",
        "cuGetProcAddress",
        "cuGetProcAddress_v2",
        "cuGetExportTable",
    }


@pytest.mark.parametrize("name", NEEDS_INIT)
def test_before_init_a_call_answers_3_and_writes_nothing(name, vgpu_cuda):
    """NOT_INITIALIZED comes before any look at the arguments, good or NULL, and out parameters stay as they were."""
    marked = Marked()
    assert call_with(name, vgpu_cuda.process, marked) == NOT_INITIALIZED
    assert marked.untouched()
    assert call_with(name, vgpu_cuda.process, nothing) == NOT_INITIALIZED


@pytest.mark.parametrize("name", NEEDS_INIT)
def test_after_init_a_call_is_no_longer_refused(name, vgpu_cuda):
    """After cuInit no call answers NOT_INITIALIZED, whatever its arguments are."""
    vgpu_cuda.cuInit(0)
    assert call_with(name, vgpu_cuda.process, nothing) != NOT_INITIALIZED
    assert call_with(name, vgpu_cuda.process, zeros()) != NOT_INITIALIZED


@pytest.mark.parametrize("name", NEEDS_INIT)
def test_without_a_host_a_call_answers_3_after_init_too(name):
    """Where there is no GPU cuInit fails with 100, and nothing is initialised."""
    with Cuda() as cuda:
        assert cuda.cuInit(0) == NO_DEVICE
        assert call_with(name, cuda.process, zeros()) == NOT_INITIALIZED


@pytest.mark.parametrize("name", [name for name, when in ENTRIES.items() if when != ALWAYS])
def test_a_process_that_is_no_application_gets_3(name, vgpu_cuda):
    """sshd and its like get NOT_INITIALIZED from everything that answers about the driver."""
    vgpu_cuda.set_facts(exe="sshd", comm="sshd")
    marked = Marked()
    assert call_with(name, vgpu_cuda.process, marked) == NOT_INITIALIZED
    assert marked.untouched()


@pytest.mark.parametrize("number", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("kind", ["NULL", "zeros", "marks"])
def test_bad_arguments_never_crash(kind, number, vgpu_image):
    """NULL, zeroed memory and rubbish for every parameter, with a context and without: an answer, never a crash."""

    def all_calls() -> int:
        with Cuda(vgpu_image) as cuda:
            for with_context in (False, True):
                for name in ENTRIES:
                    cuda.cuInit(0)
                    if with_context:
                        call_with("cuCtxCreate_v2", cuda.process, zeros())
                    make = {
                        "NULL": lambda k: nothing(k) if k.kind == "pointer" else number,
                        "zeros": zeros(),
                        "marks": Marked(number),
                    }
                    if kind == "marks" and name in {"cuCtxCreate_v4", "cuGetProcAddress_v2", "cuGetProcAddress"}:
                        continue  # a pointer or a text without an end: rubbish there is the caller's crash
                    call_with(name, cuda.process, make[kind])
            return len(ENTRIES)

    assert in_child(all_calls) == repr(len(ENTRIES))


@pytest.mark.parametrize("name", ["cuDeviceGetName", "cuDeviceGetPCIBusId", "cuDeviceGetCount", "cuDriverGetVersion"])
def test_null_for_an_output_is_an_invalid_value(name, vgpu_cuda):
    """A NULL where an answer should go is INVALID_VALUE once the driver is initialised."""
    vgpu_cuda.cuInit(0)
    assert call_with(name, vgpu_cuda.process, nothing) == INVALID_VALUE
