"""Functions: what they need, how many blocks fit, and launches as far as they are checked."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_code import OFFSETS, SHARED, function, kernel

INVALID_VALUE, INVALID_HANDLE, OUT_OF_RESOURCES, TOO_LARGE, NOT_SUPPORTED = 1, 400, 701, 720, 801
MAX_THREADS, SHARED_BYTES, REGISTERS, MAX_DYNAMIC_SHARED, CARVEOUT = 0, 1, 4, 8, 9  # CUfunction_attribute
THREADS_PER_BLOCK, WARP, MULTIPROCESSORS, THREADS_PER_SM, OPTIN, BLOCKS_PER_SM = 1, 10, 16, 39, 97, 106
CLUSTER_LAUNCH = 120
_MEASURED = "measured on 535.261.03, in any state"


def attribute(cuda: Cuda, number: int) -> int:
    """An attribute of the first device."""
    said = cuda.out("int")
    cuda.ok("cuDeviceGetAttribute", said, number, 0)
    return int(cuda.value(said))


def need(cuda: Cuda, code: Any, number: int) -> int:
    """An attribute of a function."""
    said = cuda.out("int")
    cuda.ok("cuFuncGetAttribute", said, number, code)
    return int(cuda.value(said))


@rule("cuFuncGetAttribute", source="cuda.h 13.5, CUfunction_attribute; PTX ISA 9.1, .maxntid", gpu=True)
def functions_say_what_they_need(cuda: Cuda) -> None:
    """A function answers its shared memory, its registers, and how many threads its blocks may have."""
    cuda.context()
    first, second = function(cuda), function(cuda, "second")
    cuda.equal(need(cuda, second, SHARED_BYTES), 0, "the shared memory of a kernel without any")
    cuda.check(need(cuda, first, SHARED_BYTES) in {0, SHARED}, "shared memory is what is declared, or unused")
    cuda.check(0 < need(cuda, first, REGISTERS) <= 255, "a thread has registers")
    cuda.check(need(cuda, first, MAX_THREADS) <= attribute(cuda, THREADS_PER_BLOCK), "threads of a block")
    cuda.equal(need(cuda, second, MAX_THREADS), 128, "the threads of a block that .maxntid limits")
    cuda.expect(INVALID_VALUE, "cuFuncGetAttribute", cuda.out("int"), 99, first)


@rule("cuFuncSetAttribute", source="cuda.h 13.5, cuFuncSetAttribute", gpu=True)
def settings_of_a_function(cuda: Cuda) -> None:
    """Shared memory can be asked for up to the device's limit and is kept; what the code fixes cannot be set."""
    cuda.context()
    code, limit = function(cuda, "second"), attribute(cuda, OPTIN)
    cuda.ok("cuFuncSetAttribute", code, MAX_DYNAMIC_SHARED, limit)
    cuda.equal(need(cuda, code, MAX_DYNAMIC_SHARED), limit, "the shared memory that was set")
    cuda.expect(INVALID_VALUE, "cuFuncSetAttribute", code, MAX_DYNAMIC_SHARED, limit + 1)
    cuda.expect(INVALID_VALUE, "cuFuncSetAttribute", code, REGISTERS, 8)
    cuda.ok("cuFuncSetAttribute", code, CARVEOUT, 50)
    cuda.equal(need(cuda, code, CARVEOUT), 50, "the carveout that was set")


@rule("cuKernelGetAttribute", "cuKernelSetAttribute", source="cuda.h 13.5, cuKernelSetAttribute", gpu=True)
def settings_of_a_kernel(cuda: Cuda) -> None:
    """A kernel has settings for a device; a device that is none is refused."""
    cuda.init()
    code, said = kernel(cuda, "second"), cuda.out("int")
    cuda.ok("cuKernelSetAttribute", MAX_DYNAMIC_SHARED, 1000, code, 0)
    cuda.ok("cuKernelGetAttribute", said, MAX_DYNAMIC_SHARED, code, 0)
    cuda.equal(cuda.value(said), 1000, "the shared memory that was set")
    cuda.expect(101, "cuKernelGetAttribute", said, MAX_DYNAMIC_SHARED, code, 1000)


@rule("cuFuncGetParamInfo", "cuKernelGetParamInfo", source="cuda.h 13.5, cuFuncGetParamInfo; PTX ISA 9.1", gpu=True)
def parameters_have_places(cuda: Cuda) -> None:
    """Parameters lie as the code declares them; an index past the last one is refused."""
    cuda.context()
    for name, code in (("cuFuncGetParamInfo", function(cuda)), ("cuKernelGetParamInfo", kernel(cuda))):
        for i, wanted in enumerate(OFFSETS):
            offset, size = cuda.out("size_t"), cuda.out("size_t")
            cuda.ok(name, code, i, offset, size)
            cuda.equal((cuda.value(offset), cuda.value(size)), wanted, f"offset and size of parameter {i}")
        cuda.expect(INVALID_VALUE, name, code, len(OFFSETS), cuda.out("size_t"), cuda.out("size_t"))


@rule("cuFuncGetParamCount", "cuKernelGetParamCount", source="cuda.h 13.5, cuFuncGetParamCount", gpu=True)
def parameters_are_counted(cuda: Cuda) -> None:
    """A function and a kernel know how many parameters they have."""
    cuda.context()
    for name, codes in (
        ("cuFuncGetParamCount", (function(cuda), function(cuda, "second"))),
        ("cuKernelGetParamCount", (kernel(cuda), kernel(cuda, "second"))),
    ):
        for code, wanted in zip(codes, (len(OFFSETS), 0), strict=True):
            said = cuda.out("size_t")
            cuda.ok(name, code, said)
            cuda.equal(cuda.value(said), wanted, "the number of parameters")


@rule(
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags",
    source="CUDA C++ Programming Guide, 5.2.3",
    gpu=True,
)
def blocks_fit_on_a_multiprocessor(cuda: Cuda) -> None:
    """Threads, blocks and shared memory of a multiprocessor limit how many blocks are on it at a time."""
    cuda.context()
    code = function(cuda, "second")
    most = min(attribute(cuda, THREADS_PER_SM) // 128, attribute(cuda, BLOCKS_PER_SM))
    for name, rest in (
        ("cuOccupancyMaxActiveBlocksPerMultiprocessor", ()),
        ("cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags", (0,)),
    ):
        said = cuda.out("int")
        cuda.ok(name, said, code, 128, 0, *rest)
        cuda.equal(cuda.value(said), most, "blocks of 128 threads that fit")
        cuda.ok("cuFuncSetAttribute", code, MAX_DYNAMIC_SHARED, attribute(cuda, OPTIN))
        cuda.ok(name, said, code, 128, attribute(cuda, OPTIN), *rest)
        cuda.equal(cuda.value(said), 1, "blocks that fit, when each takes all shared memory")
        cuda.expect(INVALID_VALUE, name, said, code, 0, 0, *rest)


@rule(
    "cuOccupancyMaxPotentialBlockSize",
    "cuOccupancyMaxPotentialBlockSizeWithFlags",
    source="cuda.h 13.5, cuOccupancyMaxPotentialBlockSize",
    gpu=True,
)
def the_best_block(cuda: Cuda) -> None:
    """The best block keeps as many threads at work as the code allows, on all multiprocessors."""
    cuda.context()
    code = function(cuda, "second")
    for name, rest in (
        ("cuOccupancyMaxPotentialBlockSize", ()),
        ("cuOccupancyMaxPotentialBlockSizeWithFlags", (0,)),
    ):
        grid, block, fits = cuda.out("int"), cuda.out("int"), cuda.out("int")
        cuda.ok(name, grid, block, code, None, 0, 0, *rest)
        cuda.check(0 < cuda.value(block) <= 128, f"a block has {cuda.value(block)} threads, of 128 at most")
        cuda.ok("cuOccupancyMaxActiveBlocksPerMultiprocessor", fits, code, cuda.value(block), 0)
        wanted = cuda.value(fits) * attribute(cuda, MULTIPROCESSORS)
        cuda.equal(cuda.value(grid), wanted, "the grid that fills the device")


@rule(
    "cuOccupancyAvailableDynamicSMemPerBlock", source="cuda.h 13.5, cuOccupancyAvailableDynamicSMemPerBlock", gpu=True
)
def shared_memory_of_many_blocks(cuda: Cuda) -> None:
    """The more blocks are on a multiprocessor, the less shared memory each can have; and so many do fit."""
    cuda.context()
    code, last = function(cuda, "second"), None
    for blocks in (1, 2, 4):
        said = cuda.out("size_t")
        cuda.ok("cuOccupancyAvailableDynamicSMemPerBlock", said, code, blocks, 128)
        cuda.check(0 < cuda.value(said) <= attribute(cuda, OPTIN), f"{cuda.value(said)} bytes for each of {blocks}")
        cuda.check(last is None or cuda.value(said) < last, f"{blocks} blocks have less each")
        last = cuda.value(said)


def _config(cuda: Cuda, **fields: int) -> Any:
    wanted = dict.fromkeys(("gridDimX", "gridDimY", "gridDimZ", "blockDimX", "blockDimY", "blockDimZ"), 1)
    return cuda.struct("CUlaunchConfig", **(wanted | fields))


@rule("cuOccupancyMaxPotentialClusterSize", "cuOccupancyMaxActiveClusters", source=_MEASURED, gpu=False)
def clusters_need_room(cuda: Cuda) -> None:
    """Without room for the answer it is CUDA_ERROR_INVALID_VALUE before cuInit, too."""
    for name in ("cuOccupancyMaxPotentialClusterSize", "cuOccupancyMaxActiveClusters"):
        cuda.expect(INVALID_VALUE, name, None, None, None)


@rule(
    "cuOccupancyMaxPotentialClusterSize",
    "cuOccupancyMaxActiveClusters",
    source="CUDA C++ Programming Guide, thread block clusters: eight blocks on any device that has them",
    gpu=True,
)
def clusters_fit(cuda: Cuda) -> None:
    """Eight blocks make a cluster where there are clusters; without them there are none."""
    cuda.context()
    code, said, config = function(cuda, "second"), cuda.out("int"), _config(cuda, gridDimX=8, blockDimX=128)
    if attribute(cuda, CLUSTER_LAUNCH) == 0:
        cuda.expect(801, "cuOccupancyMaxPotentialClusterSize", said, code, config)
        return
    cuda.ok("cuOccupancyMaxPotentialClusterSize", said, code, config)
    cuda.equal(cuda.value(said), 8, "blocks of a cluster")
    cuda.ok("cuOccupancyMaxActiveClusters", said, code, config)
    least = attribute(cuda, MULTIPROCESSORS)
    most = least * attribute(cuda, BLOCKS_PER_SM)
    cuda.check(least <= cuda.value(said) <= most, f"clusters of one block: {least} <= {cuda.value(said)} <= {most}")


_ONE = (1, 1, 1)


@rule(
    "cuLaunchKernel",
    "cuLaunchCooperativeKernel",
    "cuLaunchKernelEx",
    source="cuda.h 13.5, cuLaunchKernel, cuStreamBeginCapture; CUDA_KERNEL_NODE_PARAMS",
    gpu=True,
)
def launches_are_captured(cuda: Cuda) -> None:
    """A launch in a stream that is being captured is a kernel node with its dimensions."""
    cuda.context()
    code, stream = function(cuda, "second"), cuda.out("CUstream")
    cuda.ok("cuStreamCreate", stream, 1)
    config = _config(cuda, gridDimX=3, blockDimX=64)
    config[0].hStream = cuda.value(stream)
    for call in (
        ("cuLaunchKernel", code, 3, 1, 1, 64, 1, 1, 0, cuda.value(stream), None, None),
        ("cuLaunchCooperativeKernel", code, 3, 1, 1, 64, 1, 1, 0, cuda.value(stream), None),
        ("cuLaunchKernelEx", config, code, None, None),
    ):
        graph, node, count = cuda.out("CUgraph"), cuda.out("CUgraphNode"), cuda.struct("size_t")
        count[0] = 1
        cuda.ok("cuStreamBeginCapture_v2", cuda.value(stream), 2)
        cuda.ok(*call)
        cuda.ok("cuStreamEndCapture", cuda.value(stream), graph)
        cuda.ok("cuGraphGetNodes", cuda.value(graph), node, count)
        cuda.equal(count[0], 1, "the number of nodes")
        said = cuda.out("CUDA_KERNEL_NODE_PARAMS")
        cuda.ok("cuGraphKernelNodeGetParams_v2", cuda.value(node), said)
        cuda.equal((said[0].func, said[0].gridDimX, said[0].blockDimX), (code, 3, 64), "what is launched")


@rule("cuLaunchKernel", "cuLaunchCooperativeKernel", "cuLaunchKernelEx", source="cuda.h 13.5, cuLaunchKernel", gpu=True)
def launches_are_checked(cuda: Cuda) -> None:
    """A launch with no block, with too large a block, or with too much shared memory is refused."""
    cuda.context()
    code = function(cuda, "second")
    too_many = attribute(cuda, THREADS_PER_BLOCK) + 1
    for name, rest in (("cuLaunchKernel", (None,)), ("cuLaunchCooperativeKernel", ())):
        cuda.expect(INVALID_VALUE, name, code, 0, 1, 1, *_ONE, 0, None, None, *rest)
        cuda.expect(INVALID_VALUE, name, code, *_ONE, too_many, 1, 1, 0, None, None, *rest)
        refused = (INVALID_VALUE, OUT_OF_RESOURCES, TOO_LARGE)
        cuda.expect(refused, name, code, *_ONE, 256, 1, 1, 0, None, None, *rest)
        cuda.expect(refused, name, code, *_ONE, *_ONE, 1 << 30, None, None, *rest)
        cuda.expect(INVALID_HANDLE, name, None, *_ONE, *_ONE, 0, None, None, *rest)
    large = 1 << 20
    cuda.expect(TOO_LARGE, "cuLaunchCooperativeKernel", code, large, 1, 1, 128, 1, 1, 0, None, None)
    cuda.expect(INVALID_VALUE, "cuLaunchKernelEx", _config(cuda, gridDimX=0), code, None, None)
    cuda.expect(INVALID_VALUE, "cuLaunchKernelEx", None, code, None, None)


@rule("cuLaunchKernel", source="lupinemachines/lupine, issue 439: measured on 590.48.01", gpu=True)
def parameters_have_values(cuda: Cuda) -> None:
    """A launch is refused if the kernel has parameters and there are none, or one of them has no value."""
    cuda.context()
    code = function(cuda, "first")
    values = [cuda.ffi.new("char[]", size) for _, size in OFFSETS]
    wanted = cuda.ffi.new("void *[]", values)
    missing = cuda.ffi.new("void *[]", [values[0], cuda.null, values[2]])
    for parameters, code_wanted in ((None, INVALID_VALUE), (missing, INVALID_VALUE), (wanted, _done(cuda))):
        cuda.expect(code_wanted, "cuLaunchKernel", code, *_ONE, *_ONE, 0, None, parameters, None)


@rule(
    "cuLaunchKernel", source="our rule: kernels do not run on a simulated host, and no launch says otherwise", gpu=True
)
def kernels_do_not_run_here(cuda: Cuda) -> None:
    """A right launch succeeds on a GPU, and is CUDA_ERROR_NOT_SUPPORTED on a simulated host."""
    cuda.context()
    code = function(cuda, "second")
    cuda.expect(_done(cuda), "cuLaunchKernel", code, *_ONE, *_ONE, 0, None, None, None)
    cuda.ok("cuCtxSynchronize")


def _done(cuda: Cuda) -> int:
    """What a launch answers that is right."""
    return 0 if cuda.host is None else NOT_SUPPORTED


@rule("cuFuncSetBlockShape", source="cuda.h 12.9, cuFuncSetBlockShape, cuLaunchGrid", gpu=True)
def launches_of_cuda_2(cuda: Cuda) -> None:
    """A function has no block until it is given one; then it can be launched; a block without threads is refused."""
    cuda.context()
    code = function(cuda, "second")
    launches: tuple[tuple[Any, ...], ...] = (("cuLaunch",), ("cuLaunchGrid", 1, 1), ("cuLaunchGridAsync", 1, 1, None))
    for name, *rest in launches:
        cuda.expect(INVALID_VALUE, name, code, *rest)
    cuda.expect(INVALID_VALUE, "cuFuncSetBlockShape", code, 0, 1, 1)
    cuda.ok("cuFuncSetBlockShape", code, 32, 1, 1)
    for name, *rest in launches:
        cuda.expect(_done(cuda), name, code, *rest)
