"""Any sound host: the clients' own final answers say what the host file says, field by field."""

import math
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import integers

from vgpu_harness.discovery import Verdict, discover
from vgpu_harness.fuzz.strategies import hosts
from vgpu_harness.host import Gpu, Host

TRACE_SIZE = 2 << 20
"""With four GPUs the children of client C write some ten thousand records of 128 bytes."""
MIB = 1 << 20
CUDA_13_MAJOR = 13
SPACES = " \t\n\f\r"
"""What a space is to Go's regular expressions."""


def human(size: int) -> str:
    """Bytes as Ollama logs them (format.HumanBytes2: one decimal, the largest binary unit that leaves 1 or more)."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return f"{size} B"


def of_cuda_13(host: Host) -> bool:
    """Does the driver run the libraries of CUDA 13? Then both clients take these: all the GPUs are 7.5 or later."""
    return math.floor(float(host.driver.cuda)) >= CUDA_13_MAJOR


def expected_of_all(host: Host, gpu: Gpu) -> dict[str, str]:
    """The fields that all clients answer."""
    free = (gpu.memory_mib - gpu.reserved_mib - gpu.used_mib) * MIB
    return {
        "id": gpu.uuid,
        "name": gpu.name,
        "compute": gpu.compute,
        "driver": host.driver.cuda,
        "available": human(free),
        "pci_id": gpu.pci,
    }


def expected_of_a(host: Host, gpu: Gpu) -> dict[str, str]:
    """Client A: the memory is what CUDA counts."""
    total = human((gpu.memory_mib - gpu.reserved_mib) * MIB)
    return expected_of_all(host, gpu) | {
        "library": "cuda",
        "total": total,
        "variant": "v13" if of_cuda_13(host) else "v12",
    }


def expected_of_b(host: Host, gpu: Gpu) -> dict[str, str]:
    """Client B: the memory is what NVML counts, and of the folders that find all GPUs the newest is kept."""
    return expected_of_all(host, gpu) | {
        "library": "CUDA",
        "total": human(gpu.memory_mib * MIB),
        "libdirs": "ollama,cuda_v13" if of_cuda_13(host) else "ollama,cuda_v12",
    }


def expected_of_c(host: Host, gpu: Gpu) -> dict[str, str]:
    """Client C: the memory is what CUDA counts, in whole MiB, and a GPU is known by its number."""
    number = str(sorted(host.gpu, key=lambda each: each.pci_numbers).index(gpu))  # CUDA's order of equal GPUs
    return expected_of_all(host, gpu) | {
        "id": number,
        "filter_id": number,
        "name": gpu.name.strip(SPACES),
        "library": "CUDA",
        "total": human((gpu.memory_mib - gpu.reserved_mib) * MIB),
        "libdirs": "ollama,cuda_v13" if of_cuda_13(host) else "ollama,cuda_v12",
    }


def readable(host: Host) -> bool:
    """Can client C read the names back? It takes them from between spaces in a line of text."""
    return all(gpu.name.strip(SPACES) for gpu in host.gpu)


def differences(verdict: Verdict, expected: dict[str, dict[str, str]]) -> dict[str, dict[str, object]]:
    """The fields of a final answer that are not as expected: PCI address -> field -> (answered, expected).

    Devices are told apart by their address, as B and C sort them by free memory.
    """
    by_address = {device["pci_id"] or "": device for device in verdict.devices}
    found: dict[str, dict[str, object]] = {}
    for gpu in by_address.keys() | expected.keys():
        got, wanted = by_address.get(gpu, {}), expected.get(gpu, {})
        wrong = {key: (got.get(key), wanted.get(key)) for key in got.keys() | wanted.keys()}
        if wrong := {key: pair for key, pair in wrong.items() if pair[0] != pair[1]}:
            found[gpu] = wrong
    return found


@settings(
    # not shrunk: each attempt is a whole discovery of three clients
    phases=[Phase.generate], max_examples=50, derandomize=True, database=None, deadline=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(hosts(), integers(0, 2))
def test_final_answers_equal_the_host_file(host: Host, turn: int) -> None:
    """On 50 hosts of one to four GPUs, A and B, and on some of them C, answer every GPU with the host's own values."""
    with TemporaryDirectory() as directory:
        # C starts three programs for each GPU and backend: to ask it every time would take as long as the other two
        generations = "abc" if turn == 0 and readable(host) else "ab"
        verdicts = discover(generations, host, directory=directory, trace_size=TRACE_SIZE)
        for verdict, expected in zip(verdicts, (expected_of_a, expected_of_b, expected_of_c), strict=False):
            assert (verdict.stopped_at, verdict.cause, verdict.findings) == (None, None, ())
            assert len(verdict.devices) == len(host.gpu)
            assert differences(verdict, {gpu.pci: expected(host, gpu) for gpu in host.gpu}) == {}


def test_a_wrong_field_is_found() -> None:
    """Control: where the driver answers another compute capability than the host has, exactly that field differs."""
    from vgpu_harness.host.faults import FunctionFault

    host = Host(faults=(FunctionFault(function="cuDeviceGetAttribute", value=8),))
    with TemporaryDirectory() as directory:
        (verdict,) = discover(("a",), host, directory=directory, trace_size=TRACE_SIZE)
    (gpu,) = host.gpu
    assert differences(verdict, {gpu.pci: expected_of_a(host, gpu)}) == {gpu.pci: {"compute": ("8.8", "9.0")}}
