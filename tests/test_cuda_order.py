"""Every CUDA entry point before cuInit, after it, without a host, and with nothing for arguments."""

import pytest
from support.entries import (
    ALWAYS,
    CHECKED,
    INITIALISED,
    Marked,
    call_with,
    entries,
    in_child,
    looks_into_structs,
    nothing,
    nulls,
    zeros,
)

from vgpu_harness.shims.inprocess import Cuda

SUCCESS, INVALID_VALUE, NOT_INITIALIZED, NO_DEVICE, NOT_FOUND = 0, 1, 3, 100, 500

ENTRIES = entries("cuda")
NEEDS_INIT = [name for name, when in ENTRIES.items() if when == INITIALISED]
NOTHING_ASKED = ("cuMemGetAddressRange", "cuMemGetAddressRange_v2")
LOOKS_FIRST = [name for name, when in ENTRIES.items() if when == CHECKED]


def test_before_init_a_call_answers_3_and_writes_nothing(vgpu_cuda):
    """NOT_INITIALIZED comes before any look at the arguments, good or NULL, and out parameters stay as they were."""
    wrong = {}
    for name in NEEDS_INIT:
        marked = Marked()
        codes = [call_with(name, vgpu_cuda.process, make) for make in (marked, nothing)]
        if codes != [NOT_INITIALIZED] * 2 or not marked.untouched():
            wrong[name] = codes
    assert wrong == {}


def test_before_init_a_call_that_looks_at_its_arguments_first_is_refused_as_well(vgpu_image):
    """A function that checks arguments before it asks for cuInit answers an error for each of them, never success.

    Unless it is asked for nothing: both outputs of cuMemGetAddressRange may be NULL (0, measured on 535.261.03).
    """

    def refused() -> dict[str, list[int]]:
        with Cuda(vgpu_image) as cuda:
            codes = {name: [call_with(name, cuda.process, make) for make in (zeros(), nothing)] for name in LOOKS_FIRST}
            return {name: found for name, found in codes.items() if SUCCESS in found}

    assert in_child(refused) == repr({name: [NOT_INITIALIZED, SUCCESS] for name in NOTHING_ASKED})


def test_after_init_a_call_is_no_longer_refused(vgpu_image):
    """After cuInit no call answers NOT_INITIALIZED, whatever its arguments are."""

    def refused() -> list[str]:
        found = []
        for name in [*NEEDS_INIT, *LOOKS_FIRST]:
            with Cuda(vgpu_image) as cuda:
                cuda.cuInit(0)
                codes = [call_with(name, cuda.process, make) for make in (nothing, zeros())]
            found += [name] if NOT_INITIALIZED in codes else []
        return found

    assert in_child(refused) == "[]"


def test_without_a_host_a_call_answers_3_after_init_too():
    """Where there is no GPU cuInit fails with 100, and nothing is initialised."""
    with Cuda() as cuda:
        assert cuda.cuInit(0) == NO_DEVICE
        codes = {name: call_with(name, cuda.process, nothing) for name in NEEDS_INIT}
    assert set(codes.values()) <= {NOT_INITIALIZED}


def test_a_process_that_is_no_application_gets_3(vgpu_cuda):
    """sshd and its like get NOT_INITIALIZED from everything that answers about the driver."""
    vgpu_cuda.set_facts(exe="sshd", comm="sshd")
    wrong = []
    for name in (name for name, when in ENTRIES.items() if when != ALWAYS):
        marked = Marked()
        if call_with(name, vgpu_cuda.process, marked) != NOT_INITIALIZED or not marked.untouched():
            wrong.append(name)
    assert wrong == []


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
                        "NULL": nulls(number),
                        "zeros": zeros(),
                        "marks": Marked(number),
                    }
                    if kind == "marks" and (number > 1 or looks_into_structs(name)):
                        continue  # a pointer, or a count of what is not there: rubbish there is the caller's crash
                    call_with(name, cuda.process, make[kind])
            return len(ENTRIES)

    assert in_child(all_calls) == repr(len(ENTRIES))


@pytest.mark.parametrize("name", ["cuDeviceGetName", "cuDeviceGetPCIBusId", "cuDeviceGetCount", "cuDriverGetVersion"])
def test_null_for_an_output_is_an_invalid_value(name, vgpu_cuda):
    """A NULL where an answer should go is INVALID_VALUE once the driver is initialised."""
    vgpu_cuda.cuInit(0)
    assert call_with(name, vgpu_cuda.process, nothing) == INVALID_VALUE
