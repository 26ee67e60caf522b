"""Functions and launches in process: limits by profile, occupancy against an independent reckoning, refusals."""

import threading

import pytest

from vgpu_harness._wire import ffi
from vgpu_harness.conformance.rules.cuda_code import PTX

SUCCESS, INVALID_VALUE, INVALID_CONTEXT, INVALID_HANDLE, NOT_SUPPORTED = 0, 1, 201, 400, 801
THREADS_PER_SM, REGISTERS_PER_SM, SHARED_PER_SM, BLOCKS_PER_SM, RESERVED = 39, 82, 81, 106, 111
MAX_DYNAMIC_SHARED = 8


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0), with a context."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    assert vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
    return vgpu_cuda


def function(cuda, name: bytes = b"second", text: bytes = PTX):
    """A function of the code."""
    module, out = ffi.new("CUmodule *"), ffi.new("CUfunction *")
    assert cuda.cuModuleLoadData(module, ffi.new("char[]", text)) == SUCCESS
    assert cuda.cuModuleGetFunction(out, module[0], ffi.new("char[]", name)) == SUCCESS
    return out[0]


def launch(cuda, code, grid=(1, 1, 1), block=(1, 1, 1), shared: int = 0, stream=ffi.NULL) -> int:
    """cuLaunchKernel without parameters: the code."""
    return cuda.cuLaunchKernel(code, *grid, *block, shared, stream, ffi.NULL, ffi.NULL)


def blocks(cuda, code, block: int, shared: int) -> int:
    """cuOccupancyMaxActiveBlocksPerMultiprocessor."""
    said, number = cuda.number("cuOccupancyMaxActiveBlocksPerMultiprocessor", "int", code, block, shared)
    assert said == SUCCESS
    return number


class TestLaunch:
    def test_all_is_looked_at_first(self, cuda):
        """What a device would refuse is refused as it would; only then NOT_SUPPORTED, never success."""
        code = function(cuda)
        assert launch(cuda, code) == NOT_SUPPORTED
        assert launch(cuda, code, block=(128, 1, 1), grid=(2**31 - 1, 65535, 65535)) == NOT_SUPPORTED
        wrong = [{"grid": (1, 0, 1)}, {"grid": (1, 65536, 1)}, {"grid": (2**31, 1, 1)}, {"block": (1, 1, 0)},
                 {"block": (1, 1, 65)}, {"block": (1025, 1, 1)}, {"block": (32, 33, 1)}, {"shared": 49153}]  # fmt: skip
        assert [launch(cuda, code, **one) for one in wrong] == [INVALID_VALUE] * len(wrong)
        assert launch(cuda, code, block=(129, 1, 1)) == 701  # more than .maxntid
        assert launch(cuda, ffi.cast("CUfunction", 77)) == INVALID_HANDLE

    def test_parameters_must_be_there(self, cuda):
        """A kernel with parameters is not launched without any."""
        assert launch(cuda, function(cuda, b"first")) == INVALID_VALUE

    def test_stream_and_function_are_of_one_context(self, cuda):
        """A stream of another context than the function's is an invalid handle for it."""
        code, stream = function(cuda), ffi.new("CUstream *")
        assert cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
        assert cuda.cuStreamCreate(stream, 0) == SUCCESS
        assert launch(cuda, code, stream=stream[0]) == INVALID_HANDLE

    def test_more_shared_memory_has_to_be_asked_for(self, cuda):
        """Beyond 48 KiB a launch is right only after cuFuncSetAttribute."""
        code = function(cuda)
        assert launch(cuda, code, shared=100_000) == INVALID_VALUE
        assert cuda.cuFuncSetAttribute(code, MAX_DYNAMIC_SHARED, 100_000) == SUCCESS
        assert launch(cuda, code, shared=100_000) == NOT_SUPPORTED
        assert cuda.cuFuncSetAttribute(code, MAX_DYNAMIC_SHARED, 232449) == INVALID_VALUE

    def test_a_kernel_needs_a_context(self, vgpu_cuda):
        """A library's kernel can be had without a context, and not be launched."""
        assert vgpu_cuda.cuInit(0) == SUCCESS
        library, kernel, code = ffi.new("CUlibrary *"), ffi.new("CUkernel *"), ffi.new("char[]", PTX)
        none = ffi.NULL
        assert vgpu_cuda.cuLibraryLoadData(library, code, none, none, 0, none, none, 0) == SUCCESS
        assert vgpu_cuda.cuLibraryGetKernel(kernel, library[0], b"second") == SUCCESS
        assert launch(vgpu_cuda, ffi.cast("CUfunction", kernel[0])) == INVALID_CONTEXT

    def test_clusters_divide_the_grid(self, cuda):
        """A cluster that the grid is no multiple of is an invalid cluster size."""
        code, config = function(cuda), ffi.new("CUlaunchConfig *")
        attribute = ffi.new("CUlaunchAttribute[]", 1)
        for name in ("gridDimX", "gridDimY", "gridDimZ", "blockDimX", "blockDimY", "blockDimZ"):
            setattr(config, name, 1)
        config.gridDimX, config.attrs, config.numAttrs = 6, attribute, 1
        attribute[0].id = 4
        attribute[0].value.clusterDim.x = attribute[0].value.clusterDim.y = attribute[0].value.clusterDim.z = 1
        codes = []
        for cluster in (3, 4, 0):
            attribute[0].value.clusterDim.x = cluster
            codes.append(cuda.cuLaunchKernelEx(config, code, ffi.NULL, ffi.NULL))
        assert codes == [NOT_SUPPORTED, 912, 912]


class TestOccupancy:
    @pytest.mark.parametrize("block", [1, 31, 32, 33, 96, 128])
    @pytest.mark.parametrize("shared", [0, 1000, 20_000, 48_000])
    def test_by_hand(self, cuda, block, shared):
        """Each limit by itself, and the least of them: warps, blocks, registers, shared memory in 128 bytes."""
        limit = {number: cuda.attribute(number)[1] for number in (39, 82, 81, 106, 111)}
        warps = -(-block // 32)
        registers = limit[REGISTERS_PER_SM] // (-(-32 * 32 // 256) * 256) // 4 * 4
        used = -(-(shared + limit[RESERVED]) // 128) * 128
        wanted = min(limit[THREADS_PER_SM] // (32 * warps), limit[BLOCKS_PER_SM], registers // warps,
                     limit[SHARED_PER_SM] // used)  # fmt: skip
        assert blocks(cuda, function(cuda), block, shared) == wanted

    def test_too_large_a_block(self, cuda):
        """No block fits that the code does not allow."""
        assert blocks(cuda, function(cuda), 129, 0) == 0

    def test_shared_memory_by_the_size_of_the_block(self, cuda):
        """The program's function says how much a block needs: the best block is one that fits."""
        size = ffi.callback("size_t(int)", lambda block: 1_000_000 if block > 64 else 0)
        grid, block = ffi.new("int *"), ffi.new("int *")
        assert cuda.cuOccupancyMaxPotentialBlockSize(grid, block, function(cuda), size, 0, 0) == SUCCESS
        assert (block[0], grid[0] > 0) == (64, True)

    def test_the_function_of_the_program_may_call_in(self, cuda):
        """The lock is free while the program says what a block needs."""
        context, codes = ffi.new("CUcontext *"), []
        size = ffi.callback("size_t(int)", lambda _block: cuda.cuCtxGetDevice(ffi.new("CUdevice *")))
        code, grid, block = function(cuda), ffi.new("int *"), ffi.new("int *")
        assert cuda.cuCtxGetCurrent(context) == SUCCESS

        def ask() -> None:
            cuda.cuCtxSetCurrent(context[0])
            codes.append(cuda.cuOccupancyMaxPotentialBlockSize(grid, block, code, size, 0, 0))

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(20)
        assert (codes, block[0]) == ([SUCCESS], 128)
