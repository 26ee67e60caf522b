"""cuInit, the driver's version, and the devices that are known then."""

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, NOT_INITIALIZED, INVALID_DEVICE = 1, 3, 101
NOT_FOUND = (100, 101, 3, 999, 802, 803, 804)
"""What cuInit may answer where there is no usable GPU: cuda.h's NO_DEVICE, its neighbours, and SYSTEM_*."""


@rule("cuInit", source="cuda.h 13.5, cuInit; measured on 535.261.03", gpu=True)
def init_makes_devices_known(cuda: Cuda) -> None:
    """Before cuInit(0) cuDeviceGetCount answers CUDA_ERROR_NOT_INITIALIZED, after it the number of devices."""
    count = cuda.out("int")
    cuda.expect(NOT_INITIALIZED, "cuDeviceGetCount", count)
    cuda.untouched(count)
    cuda.init()
    cuda.ok("cuDeviceGetCount", count)
    cuda.check(cuda.value(count) >= 1, "at least one device is counted")


@rule("cuInit", source="cuda.h 13.5, cuInit; measured on 535.261.03", gpu=True)
def init_again(cuda: Cuda) -> None:
    """A second cuInit(0) answers 0 too, and leaves the devices as they were."""
    cuda.init()
    cuda.init()
    count = cuda.out("int")
    cuda.ok("cuDeviceGetCount", count)
    cuda.check(cuda.value(count) >= 1, "at least one device is counted")


@rule("cuInit", source="cuda.h 13.5, cuInit: Flags must be 0; measured on 535.261.03", gpu=False)
def init_with_a_flag(cuda: Cuda) -> None:
    """cuInit with a flag answers CUDA_ERROR_INVALID_VALUE and initialises nothing."""
    for flags in (1, 2, 0x80000000, 0xFFFFFFFF):
        cuda.expect(INVALID_VALUE, "cuInit", flags)
    count = cuda.out("int")
    cuda.expect(NOT_INITIALIZED, "cuDeviceGetCount", count)
    cuda.untouched(count)


@rule("cuInit", source="measured on 535.261.03 without a GPU: 100, again 100", gpu=False)
def init_answers_the_same_again(cuda: Cuda) -> None:
    """cuInit(0) answers 0, or says each time in the same way why there is no device; without one nothing is counted."""
    code = cuda.expect((0, *NOT_FOUND), "cuInit", 0)
    cuda.expect(code, "cuInit", 0)
    count = cuda.out("int")
    cuda.expect(0 if code == 0 else NOT_INITIALIZED, "cuDeviceGetCount", count)
    if code != 0:
        cuda.untouched(count)


@rule("cuInit", source="cuda.h 13.5, cuInit; triton pull request 10443: 3 on eight H100", gpu=True)
def a_forked_child_cannot_use_cuda(cuda: Cuda) -> None:
    """A child that was forked after cuInit(0) gets CUDA_ERROR_NOT_INITIALIZED, even of cuInit; its parent goes on."""
    cuda.init()
    cuda.equal(cuda.in_fork(lambda: cuda.call("cuInit", 0)), NOT_INITIALIZED, "cuInit in a forked child")
    count = cuda.out("int")
    cuda.ok("cuDeviceGetCount", count)
    cuda.check(cuda.value(count) >= 1, "the parent still counts a device")


@rule("cuInit", source="cuda.h 13.5, cuInit", gpu=True)
def a_child_forked_before_init_can_use_cuda(cuda: Cuda) -> None:
    """A child that was forked before cuInit(0) initialises for itself and counts as many devices as its parent then."""
    count = cuda.out("int")

    def in_child() -> int:
        cuda.init()
        cuda.ok("cuDeviceGetCount", count)
        return int(cuda.value(count))

    counted = cuda.in_fork(in_child)
    cuda.untouched(count)
    cuda.equal(in_child(), counted, "the number of devices")


@rule("cuDriverGetVersion", source="cuda.h 13.5, cuDriverGetVersion; measured on 535.261.03", gpu=False)
def the_version_needs_no_init(cuda: Cuda) -> None:
    """cuDriverGetVersion answers 1000 * major + 10 * minor at any time, NULL is CUDA_ERROR_INVALID_VALUE."""
    cuda.expect(INVALID_VALUE, "cuDriverGetVersion", None)
    version = cuda.out("int")
    cuda.ok("cuDriverGetVersion", version)
    before = cuda.value(version)
    cuda.check(5000 <= before < 100000 and before % 10 == 0, f"{before} is a version of CUDA")
    cuda.call("cuInit", 0)
    cuda.ok("cuDriverGetVersion", version)
    cuda.equal(cuda.value(version), before, "the version after cuInit")


@rule("cuDriverGetVersion", source="cuda.h 13.5, cuDriverGetVersion", gpu=True)
def the_version_of_an_initialised_driver(cuda: Cuda) -> None:
    """After cuInit cuDriverGetVersion answers the driver's version, NULL is CUDA_ERROR_INVALID_VALUE."""
    cuda.init()
    version = cuda.out("int")
    cuda.ok("cuDriverGetVersion", version)
    got = cuda.value(version)
    cuda.check(5000 <= got < 100000 and got % 10 == 0, f"{got} is a version of CUDA")
    if cuda.host is not None:
        cuda.equal(got, cuda.host.driver.cuda_number, "the version")
    cuda.expect(INVALID_VALUE, "cuDriverGetVersion", None)


@rule("cuDeviceGetCount", source="cuda.h 13.5, cuDeviceGetCount", gpu=True)
def devices_are_counted(cuda: Cuda) -> None:
    """cuDeviceGetCount answers the number of devices, NULL is CUDA_ERROR_INVALID_VALUE."""
    cuda.init()
    count = cuda.out("int")
    cuda.ok("cuDeviceGetCount", count)
    got = cuda.value(count)
    cuda.check(1 <= got <= 64, f"{got} is a number of devices")
    if cuda.host is not None:
        cuda.equal(got, len(cuda.host.gpu), "the number of devices")
    cuda.expect(INVALID_VALUE, "cuDeviceGetCount", None)


@rule("cuDeviceGet", source="cuda.h 13.5, cuDeviceGet", gpu=True)
def devices_by_ordinal(cuda: Cuda) -> None:
    """cuDeviceGet answers a device of its own for each ordinal, CUDA_ERROR_INVALID_DEVICE for any other number."""
    cuda.init()
    count = cuda.out("int")
    cuda.ok("cuDeviceGetCount", count)
    devices = []
    for ordinal in range(cuda.value(count)):
        device = cuda.out("CUdevice")
        cuda.ok("cuDeviceGet", device, ordinal)
        devices.append(cuda.value(device))
    cuda.equal(devices, list(range(len(devices))), "the devices")
    device = cuda.out("CUdevice")
    for ordinal in (-1, len(devices), 2**31 - 1, -(2**31)):
        cuda.expect(INVALID_DEVICE, "cuDeviceGet", device, ordinal)
    cuda.untouched(device)
    cuda.expect(INVALID_VALUE, "cuDeviceGet", None, 0)


@rule(
    "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute",
    source="measured on 535.261.03: 3 before cuInit for NULL and for memory alike", gpu=False,
)  # fmt: skip
def nothing_is_told_before_init(cuda: Cuda) -> None:
    """Before cuInit each question about devices answers CUDA_ERROR_NOT_INITIALIZED and leaves its output alone."""
    number, name = cuda.out("int"), cuda.out("char", 64)
    for arguments in (
        ("cuDeviceGetCount", number),
        ("cuDeviceGetCount", None),
        ("cuDeviceGet", number, 0),
        ("cuDeviceGet", None, 0),
        ("cuDeviceGetName", name, 64, 0),
        ("cuDeviceGetName", None, 0, 0),
        ("cuDeviceGetAttribute", number, 1, 0),
    ):
        cuda.expect(NOT_INITIALIZED, *arguments)
    for box in (number, name):
        cuda.untouched(box)
