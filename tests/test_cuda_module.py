"""Code that is loaded: which forms are taken, what is read out of them, what lives how long."""

import ctypes
import mmap
import os
import signal
import struct

import pytest

from vgpu_harness._wire import ffi
from vgpu_harness.conformance.rules.cuda_code import PTX

SUCCESS, INVALID_VALUE, INVALID_IMAGE, NO_BINARY, INVALID_PTX = 0, 1, 200, 209, 218
FILE_NOT_FOUND, INVALID_HANDLE, NOT_FOUND = 301, 400, 500
REGISTERS, SHARED, MAX_THREADS = 4, 1, 0


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0), with a context."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    assert vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
    return vgpu_cuda


def load(cuda, image: bytes):
    """cuModuleLoadData: (code, module)."""
    out, code = ffi.new("CUmodule *"), ffi.new("char[]", image)
    return cuda.cuModuleLoadData(out, code), out[0]


def find(cuda, module, name: bytes):
    """cuModuleGetFunction: (code, function)."""
    out = ffi.new("CUfunction *")
    return cuda.cuModuleGetFunction(out, module, ffi.new("char[]", name)), out[0]


def attribute(cuda, function, number: int) -> int:
    """cuFuncGetAttribute."""
    code, value = cuda.number("cuFuncGetAttribute", "int", number, function)
    assert code == SUCCESS
    return value


def cubin(sm: int = 90, registers: int = 40, kernel: bytes = b"kernel") -> bytes:
    """An ELF file as nvcc makes it, as far as it is read: a kernel with 16 bytes of parameters, a variable."""
    names = b"\0.shstrtab\0.strtab\0.symtab\0.text." + kernel + b"\0.nv.info." + kernel + b"\0.nv.global\0"
    strings = b"\0variable\0"
    info = b"".join(
        struct.pack("<BBHIHHI", 4, 0x17, 12, 0, i, 8 * i, 8 << 18) for i in range(2)
    )  # two parameters of eight bytes
    symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 1 | 1 << 4, 0, 6, 0, 32)
    parts = [b"", names, strings, symbols, b"\0" * 128, info, b""]
    kinds = [(b"", 0), (b".shstrtab", 3), (b".strtab", 3), (b".symtab", 2), (b".text." + kernel, 1),
             (b".nv.info." + kernel, 0x70000000), (b".nv.global", 8)]  # fmt: skip
    offset, headers, body = 64, b"", b""
    for i, ((name, kind), part) in enumerate(zip(kinds, parts, strict=True)):
        link, extra = (2, 0) if i == 3 else (0, registers << 24 if i == 4 else 0)
        size = 32 if i == 6 else len(part)
        at = names.index(name + b"\0") if name else 0
        headers += struct.pack("<IIQQQQIIQQ", at, kind, 0, 0, offset, size, link, extra, 8, 24 if i == 3 else 0)
        offset += len(part)
        body += part
    ident = b"\x7fELF\x02\x01\x01\x33\x07" + bytes(7)
    head = ident + struct.pack("<HHIQQQIHHHHHH", 2, 190, 1, 0, 0, offset, 0x500 << 8 | sm, 64, 0, 0, 64, 7, 1)
    return head + body + headers


def fatbin(*entries: tuple[int, int, bytes, int]) -> bytes:
    """A fat binary of (kind, compute capability, code, flags)."""
    body = b""
    for kind, sm, content, flags in entries:
        code = content + bytes(-len(content) % 8)
        body += struct.pack("<HHIQIIHHIIIQQQ", kind, 0x101, 64, len(code), 0, 0, 4, 8, sm, 0, 0, flags, 0, 0) + code
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


class TestCubin:
    def test_what_is_read(self, cuda):
        """Kernels, their registers and parameters, variables and their sizes."""
        code, module = load(cuda, cubin())
        assert code == SUCCESS
        code, function = find(cuda, module, b"kernel")
        assert (code, attribute(cuda, function, REGISTERS)) == (SUCCESS, 40)
        offset, size = ffi.new("size_t *"), ffi.new("size_t *")
        assert cuda.cuFuncGetParamInfo(function, 1, offset, size) == SUCCESS
        assert (offset[0], size[0]) == (8, 8)
        assert cuda.cuFuncGetParamInfo(function, 2, offset, size) == INVALID_VALUE
        address = ffi.new("CUdeviceptr *")
        assert cuda.cuModuleGetGlobal_v2(address, size, module, b"variable") == SUCCESS
        assert size[0] == 32

    @pytest.mark.parametrize("sm", [80, 100, 89])
    def test_of_another_generation(self, cuda, sm):
        """Code for another major capability than the H100's 9.0 has no binary for it."""
        assert load(cuda, cubin(sm))[0] == NO_BINARY

    @pytest.mark.parametrize("at", [16 + 2, 40 + 5, 58, 62])
    def test_a_broken_header(self, cuda, at):
        """Machine, section table, entry size, names: each byte that makes no sense is an invalid image."""
        image = bytearray(cubin())
        image[at] ^= 0x55
        assert load(cuda, bytes(image))[0] == INVALID_IMAGE

    def test_each_cut(self, cuda, tmp_path):
        """A file that ends too early is refused wherever that is, and nothing crashes."""
        whole, path, out = cubin(), tmp_path / "cut.cubin", ffi.new("CUmodule *")
        for end in range(0, len(whole), 7):
            path.write_bytes(whole[:end])
            assert cuda.cuModuleLoad(out, bytes(path)) == INVALID_IMAGE
        path.write_bytes(whole)
        assert cuda.cuModuleLoad(out, bytes(path)) == SUCCESS


class TestFatBinary:
    def test_the_best_entry_is_taken(self, cuda):
        """A cubin of the device's generation wins over PTX, and the newest PTX that is old enough over none."""
        both = fatbin((1, 70, PTX, 0), (2, 90, cubin(), 0), (2, 80, cubin(80, 20), 0))
        code, module = load(cuda, both)
        assert (code, find(cuda, module, b"kernel")[0], find(cuda, module, b"first")[0]) == (0, 0, NOT_FOUND)
        code, module = load(cuda, fatbin((1, 70, PTX, 0), (1, 100, PTX.replace(b"first", b"newer"), 0)))
        assert (code, find(cuda, module, b"first")[0], find(cuda, module, b"newer")[0]) == (0, 0, NOT_FOUND)

    def test_nothing_fits(self, cuda):
        """Code for newer devices alone."""
        assert load(cuda, fatbin((2, 100, cubin(100), 0), (1, 120, PTX, 0)))[0] == NO_BINARY

    def test_compressed_code_is_taken_unseen(self, cuda):
        """What is in it stays unknown: each name is found, always as the same function."""
        code, module = load(cuda, fatbin((2, 90, b"\x28\xb5\x2f\xfd" + bytes(60), 0x8011)))
        assert code == SUCCESS
        first, second = find(cuda, module, b"some"), find(cuda, module, b"other")
        assert (first[0], second[0]) == (SUCCESS, SUCCESS)
        assert first[1] != second[1] == find(cuda, module, b"other")[1]
        assert cuda.number("cuModuleGetFunctionCount", "unsigned int", module) == (SUCCESS, 2)

    def test_the_wrapper_of_nvcc(self, cuda):
        """The structure that programs register leads to the fat binary."""
        inner = ffi.new("char[]", fatbin((1, 70, PTX, 0)))
        wrapper = struct.pack("<IIQQ", 0x466243B1, 1, int(ffi.cast("uintptr_t", inner)), 0)
        code, module = load(cuda, wrapper)
        assert (code, find(cuda, module, b"first")[0]) == (SUCCESS, SUCCESS)

    @pytest.mark.parametrize("at", [4, 6, 20 + 16, 24 + 16 + 4])
    def test_broken_sizes(self, cuda, at):
        """Version and sizes that do not fit are an invalid image."""
        image = bytearray(fatbin((1, 70, PTX, 0)))
        image[at if at < 16 else at - 16] ^= 0xFF
        assert load(cuda, bytes(image))[0] in {INVALID_IMAGE, NO_BINARY}


HEAD = b".version 8.0\n.target sm_90\n.address_size 64\n"


class TestPtx:
    @pytest.mark.parametrize(
        ("text", "code"),
        [
            (HEAD, SUCCESS),
            (b"// a comment\n/* another { */\n" + HEAD, SUCCESS),
            (b"", INVALID_IMAGE),
            (b"no code", INVALID_IMAGE),
            (b".version", INVALID_PTX),
            (b".version 8.0\n", INVALID_PTX),
            (b".version 8.0\n.target sm_100\n", INVALID_PTX),
            (HEAD + b".entry k() { ret;", INVALID_PTX),
            (HEAD + b".entry", INVALID_PTX),
            (HEAD + b".entry k(.param .u64", INVALID_PTX),
            (HEAD + b".entry k(.reg .u64 a) { }", INVALID_PTX),
            (HEAD + b".func f() { }\n}", INVALID_PTX),
            (HEAD + b".global .u32;", INVALID_PTX),
        ],
    )
    def test_what_is_ptx(self, cuda, text, code):
        """A head, and brackets that match; a target no newer than the device."""
        assert load(cuda, text)[0] == code

    def test_limits_of_a_kernel(self, cuda):
        """.maxntid limits the threads, .shared variables in the body count, vectors and arrays have their sizes."""
        text = HEAD + (
            b".global .align 16 .v4 .f32 table[2][3];\n"
            b".visible .entry k(.param .align 16 .b8 a[20], .param .f64 b)\n.reqntid 64, 2\n"
            b'{ .shared .align 8 .b8 s[256]; .shared .f32 t; .loc 1 "} {" ret; }\n'
        )
        code, module = load(cuda, text)
        assert code == SUCCESS
        function = find(cuda, module, b"k")[1]
        assert [attribute(cuda, function, number) for number in (MAX_THREADS, SHARED)] == [128, 260]
        offset, size = ffi.new("size_t *"), ffi.new("size_t *")
        assert cuda.cuFuncGetParamInfo(function, 1, offset, size) == SUCCESS
        assert (offset[0], size[0]) == (24, 8)
        assert cuda.cuModuleGetGlobal_v2(ffi.NULL, size, module, b"table") == SUCCESS
        assert size[0] == 96


class TestLife:
    def test_functions_go_with_their_module(self, cuda):
        """An unloaded module's functions are none; its variable's memory is free again."""
        free = ffi.new("size_t *")
        cuda.cuMemGetInfo_v2(free, ffi.new("size_t *"))
        before = free[0]
        _, module = load(cuda, PTX)
        _, function = find(cuda, module, b"first")
        assert cuda.cuModuleGetGlobal_v2(ffi.new("CUdeviceptr *"), ffi.new("size_t *"), module, b"counter") == SUCCESS
        cuda.cuMemGetInfo_v2(free, ffi.new("size_t *"))
        assert free[0] < before
        assert cuda.cuModuleUnload(module) == SUCCESS
        assert cuda.number("cuFuncGetAttribute", "int", REGISTERS, function)[0] == INVALID_HANDLE
        cuda.cuMemGetInfo_v2(free, ffi.new("size_t *"))
        assert free[0] == before

    def test_a_variable_is_on_its_modules_device(self, tmp_path):
        """Whatever context is current when it is asked for first, its memory is the module's device's."""
        from vgpu_harness.host import Gpu, Host, write_image, write_tree
        from vgpu_harness.shims.inprocess import Cuda

        host = Host(gpu=[Gpu(), Gpu()])
        with Cuda(write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "image")) as cuda:
            contexts, place, free = ffi.new("CUcontext[2]"), ffi.new("CUdeviceptr *"), ffi.new("size_t[2]")
            cuda.cuInit(0)
            for i in range(2):
                assert cuda.cuCtxCreate_v2(contexts + i, 0, i) == SUCCESS
            cuda.cuCtxSetCurrent(contexts[0])
            _, module = load(cuda, PTX)

            def frees() -> list[int]:
                found = []
                for context in contexts:
                    cuda.cuCtxSetCurrent(context)
                    assert cuda.cuMemGetInfo_v2(free, free + 1) == SUCCESS
                    found.append(free[0])
                return found

            before = frees()
            assert cuda.cuModuleGetGlobal_v2(place, ffi.NULL, module, b"counter") == SUCCESS
            after = frees()
            assert [after[0] < before[0], after[1] < before[1]] == [True, False]
            code, ordinal = cuda.number("cuPointerGetAttribute", "int", 9, place[0])
            assert (code, ordinal) == (SUCCESS, 0)

    def test_a_variable_is_not_the_programs_to_free(self, cuda):
        """cuMemFree and cuMemFreeAsync refuse its address, and it stays."""
        place = ffi.new("CUdeviceptr *")
        _, module = load(cuda, PTX)
        assert cuda.cuModuleGetGlobal_v2(place, ffi.NULL, module, b"counter") == SUCCESS
        assert cuda.cuMemFree_v2(place[0]) == cuda.cuMemFreeAsync(place[0], ffi.NULL) == INVALID_VALUE
        assert cuda.cuMemsetD8_v2(place[0], 1, 4) == SUCCESS

    def test_functions_go_with_their_context(self, cuda):
        """So do those of a context that is destroyed; a library stays, and is a new module in the next one."""
        library, module, context = ffi.new("CUlibrary *"), ffi.new("CUmodule *"), ffi.new("CUcontext *")
        code = ffi.new("char[]", PTX)
        assert cuda.cuLibraryLoadData(library, code, ffi.NULL, ffi.NULL, 0, ffi.NULL, ffi.NULL, 0) == SUCCESS
        assert cuda.cuLibraryGetModule(module, library[0]) == SUCCESS
        old, function = module[0], find(cuda, module[0], b"first")[1]
        cuda.cuCtxGetCurrent(context)
        assert cuda.cuCtxDestroy_v2(context[0]) == SUCCESS
        assert cuda.number("cuFuncGetAttribute", "int", REGISTERS, function)[0] == INVALID_HANDLE
        assert cuda.cuCtxCreate_v2(context, 0, 0) == SUCCESS
        assert cuda.cuLibraryGetModule(module, library[0]) == SUCCESS
        assert module[0] != old
        assert cuda.cuModuleUnload(module[0]) == 800  # only with its library

    def test_managed_memory_of_a_library_outlives_a_context(self, cuda):
        """It is the library's, the same for all contexts: it stays when the one in which it was asked for ends."""
        text = b".version 8.0\n.target sm_80\n.global .attribute(.managed) .align 4 .b8 both[64];\n"
        library, code, context = ffi.new("CUlibrary *"), ffi.new("char[]", text), ffi.new("CUcontext *")
        place, size = ffi.new("CUdeviceptr *"), ffi.new("size_t *")
        assert cuda.cuLibraryLoadData(library, code, ffi.NULL, ffi.NULL, 0, ffi.NULL, ffi.NULL, 0) == SUCCESS
        assert cuda.cuLibraryGetManaged(place, size, library[0], ffi.new("char[]", b"both")) == SUCCESS
        cuda.cuCtxGetCurrent(context)
        assert cuda.cuCtxDestroy_v2(context[0]) == cuda.cuCtxCreate_v2(context, 0, 0) == SUCCESS
        assert cuda.cuMemsetD8_v2(place[0], 1, 64) == SUCCESS
        assert cuda.cuLibraryUnload(library[0]) == SUCCESS
        assert cuda.cuMemsetD8_v2(place[0], 1, 64) == INVALID_VALUE


def test_parameters_that_are_not_in_order(cuda):
    """Values of a node are kept wherever the code says that they lie."""
    record = (4, 0x17, 12, 0, 0, 0, 8 << 18)
    image = cubin().replace(struct.pack("<BBHIHHI", *record), struct.pack("<BBHIHHI", *record[:5], 24, 8 << 18))
    _, function = find(cuda, load(cuda, image)[1], b"kernel")
    graph, values = ffi.new("CUgraph *"), ffi.new("uint64_t[2]", [2**64 - 1, 7])
    assert cuda.cuGraphCreate(graph, 0) == SUCCESS
    pointers = ffi.new("void *[]", [values, values + 1])
    params = ffi.new("CUDA_KERNEL_NODE_PARAMS *", {"func": function, "kernelParams": pointers})
    for field in ("gridDimX", "gridDimY", "gridDimZ", "blockDimX", "blockDimY", "blockDimZ"):
        setattr(params, field, 1)
    nodes = [ffi.new("CUgraphNode *") for _ in range(64)]
    for node in nodes:
        assert cuda.cuGraphAddKernelNode_v2(node, graph[0], ffi.NULL, 0, params) == SUCCESS
    for node in nodes:
        assert cuda.cuGraphKernelNodeGetParams_v2(node[0], params) == SUCCESS
        assert [ffi.cast("uint64_t *", params.kernelParams[i])[0] for i in range(2)] == [2**64 - 1, 7]
    assert cuda.cuGraphDestroy(graph[0]) == SUCCESS


def test_an_open_comment_at_the_end_of_memory(cuda):
    """Code with a size is not read beyond it."""
    page = mmap.PAGESIZE
    state, start = ffi.new("CUlinkState *"), mmap.mmap(-1, 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(start))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + page), page, 0) == 0
    start[page - 8 : page] = b"/* open "
    assert cuda.cuLinkCreate_v2(0, ffi.NULL, ffi.NULL, state) == SUCCESS
    rest = (ffi.NULL, 0, ffi.NULL, ffi.NULL)
    assert cuda.cuLinkAddData_v2(state[0], 1, ffi.cast("void *", address + page - 8), 8, *rest) == INVALID_IMAGE


def test_numbers_that_are_too_large(cuda):
    """Sizes and counts of PTX that are beyond an int are the largest int, not whatever is left of them."""
    large = 2**63 - 1
    code = b""".version 8.0
.target sm_80
.entry big() .maxntid %d, %d, 3 { .shared .b8 a[4294967295]; .shared .b8 b[4294967295]; .local .b8 c[%d]; ret; }
""" % (large, large, large)
    done, module = load(cuda, code)
    assert done == SUCCESS
    function = find(cuda, module, b"big")[1]
    local = 3
    assert [attribute(cuda, function, number) for number in (SHARED, local)] == [2**31 - 1] * 2
    assert attribute(cuda, function, MAX_THREADS) > 0
    assert load(cuda, b".version %d.0\n.target sm_80\n" % large)[0] == INVALID_PTX


@pytest.mark.parametrize("what", ["module", "log"])
def test_a_fifo_does_not_hold_the_lock(what, vgpu_image, tmp_path):
    """A FIFO that nobody has opened is no code and no log: the call answers at once."""
    from vgpu_harness.shims.inprocess import Cuda

    path = os.fsencode(tmp_path / "fifo")
    os.mkfifo(path)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        with Cuda(vgpu_image) as cuda:
            cuda.cuInit(0)
            cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0)
            name = ffi.new("char[]", path)
            if what == "module":
                os._exit(cuda.cuModuleLoad(ffi.new("CUmodule *"), name) == FILE_NOT_FOUND)
            os._exit(cuda.cuLogsDumpToFile(ffi.NULL, name, 0) == INVALID_VALUE)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
