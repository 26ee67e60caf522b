"""Functions that refuse whatever they are asked on a simulated host, and settings that nothing there shows."""

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_code import function, kernel
from vgpu_harness.conformance.rules.cuda_event import event
from vgpu_harness.conformance.rules.cuda_graph import new_graph
from vgpu_harness.conformance.rules.cuda_graph_memory import ready
from vgpu_harness.conformance.rules.cuda_graph_nodes import add, kernel_params
from vgpu_harness.conformance.rules.cuda_memory import allocate
from vgpu_harness.conformance.rules.cuda_stream import stream
from vgpu_harness.conformance.rules.cuda_texture import array

INVALID_VALUE, OUT_OF_RESOURCES, INVALID_HANDLE, TOO_LARGE, NOT_SUPPORTED = 1, 701, 400, 720, 801
NO_HANDLE = (INVALID_VALUE, INVALID_HANDLE)
GLOBAL, HOST = 1, 2  # CUmemAttach_flags
_DEBUGGER = "measured on 535.261.03; our rule for an initialised driver without a debugger"
_CUDA_2 = "cuda.h 12.9, cuParamSetv, cuFuncSetSharedSize"


@rule(
    "cudbgApiInit", "cudbgReportDriverApiError", "cudbgReportDriverInternalError", "cudbgGetAPI", source=_DEBUGGER,
    gpu=True,
)  # fmt: skip
def no_debugger_is_attached(cuda: Cuda) -> None:
    """The debugger's interface answers as before the initialisation: it comes and goes, and reports to nobody."""
    cuda.init()
    for name, code, arguments in (
        ("cudbgApiInit", 1, (1,)),
        ("cudbgApiAttach", 0, ()),
        ("cudbgApiDetach", 0, ()),
        ("cudbgReportDriverApiError", 1, ()),
        ("cudbgReportDriverInternalError", 1, ()),
        ("cudbgGetAPI", 10, (4711, 4711, 4711, cuda.out("const void *"))),
        ("cudbgGetAPI", 4, (1, 2, 3, None)),
    ):
        cuda.expect(code, name, *arguments)


@rule(
    "cuEGLStreamConsumerConnect", "cuEGLStreamConsumerConnectWithFlags", "cuEGLStreamProducerConnect",
    "cuEGLStreamConsumerDisconnect", "cuEGLStreamProducerDisconnect", "cuEGLStreamConsumerAcquireFrame",
    "cuEGLStreamConsumerReleaseFrame", "cuEGLStreamProducerReturnFrame",
    source="measured on 535.261.03, in any state", gpu=True,
)  # fmt: skip
def no_egl_stream(cuda: Cuda) -> None:
    """Without a stream to connect to, and a connection, it is CUDA_ERROR_INVALID_HANDLE."""
    cuda.context()
    room = cuda.struct("CUeglStreamConnection")
    for name, arguments in (
        ("cuEGLStreamConsumerConnect", (room, None)),
        ("cuEGLStreamConsumerConnectWithFlags", (room, None, 0)),
        ("cuEGLStreamProducerConnect", (room, None, 1, 1)),
        ("cuEGLStreamConsumerDisconnect", (room,)),
        ("cuEGLStreamProducerDisconnect", (room,)),
        ("cuEGLStreamConsumerAcquireFrame", (room, None, None, 0)),
        ("cuEGLStreamConsumerReleaseFrame", (room, None, None)),
        ("cuEGLStreamProducerReturnFrame", (room, None, None)),
    ):
        cuda.expect(INVALID_HANDLE, name, *arguments)


@rule(
    "cuImportExternalMemory", "cuImportExternalSemaphore", "cuDestroyExternalMemory", "cuDestroyExternalSemaphore",
    "cuExternalMemoryGetMappedBuffer", "cuExternalMemoryGetMappedMipmappedArray", "cuSignalExternalSemaphoresAsync",
    "cuWaitExternalSemaphoresAsync", source="cuda.h 13.5, cuImportExternalMemory, cuImportExternalSemaphore", gpu=True,
)  # fmt: skip
def nothing_external(cuda: Cuda) -> None:
    """A description without a type, and NULL, stand for no memory and no semaphore of another driver."""
    cuda.context()
    zeros = cuda.ffi.new("char[]", 256)
    description = int(cuda.ffi.cast("uintptr_t", zeros))
    for name, arguments in (
        ("cuImportExternalMemory", (cuda.out("CUexternalMemory"), description)),
        ("cuImportExternalSemaphore", (cuda.out("CUexternalSemaphore"), description)),
        ("cuDestroyExternalMemory", (None,)),
        ("cuDestroyExternalSemaphore", (None,)),
        ("cuExternalMemoryGetMappedBuffer", (cuda.out("CUdeviceptr"), None, description)),
        ("cuExternalMemoryGetMappedMipmappedArray", (cuda.out("CUmipmappedArray"), None, description)),
        ("cuSignalExternalSemaphoresAsync", (None, None, 0, None)),
        ("cuWaitExternalSemaphoresAsync", (None, None, 0, None)),
    ):
        cuda.expect(NO_HANDLE, name, *arguments)


@rule(
    "cuArrayGetSparseProperties", "cuArrayGetMemoryRequirements", "cuArrayGetPlane", "cuMemMapArrayAsync",
    "cuMipmappedArrayGetSparseProperties", "cuMipmappedArrayGetMemoryRequirements",
    source="cuda.h 13.5, cuArrayGetSparseProperties, cuArrayGetMemoryRequirements, cuArrayGetPlane", gpu=True,
)  # fmt: skip
def an_ordinary_array(cuda: Cuda) -> None:
    """It is not sparse, its memory is there already, and it has no planes."""
    cuda.context()
    flat, mipmap = array(cuda, 8, 8), cuda.out("CUmipmappedArray")
    shape = cuda.struct("CUDA_ARRAY3D_DESCRIPTOR", Width=8, Height=8, Format=1, NumChannels=1)
    cuda.ok("cuMipmappedArrayCreate", mipmap, shape, 2)
    room = cuda.out("char", 64)
    sparse = needed = int(cuda.ffi.cast("uintptr_t", room))
    for name, arguments in (
        ("cuArrayGetSparseProperties", (sparse, flat)),
        ("cuMipmappedArrayGetSparseProperties", (sparse, cuda.value(mipmap))),
        ("cuArrayGetMemoryRequirements", (needed, flat, 0)),
        ("cuMipmappedArrayGetMemoryRequirements", (needed, cuda.value(mipmap), 0)),
        ("cuArrayGetPlane", (cuda.out("CUarray"), flat, 0)),
        ("cuMemMapArrayAsync", (None, 0, None)),
    ):
        cuda.expect(INVALID_VALUE, name, *arguments)
    cuda.untouched(room)


@rule(
    "cuMemGetHandleForAddressRange", "cuMemHostGetDevicePointer",
    source="cuda.h 13.5, cuMemGetHandleForAddressRange; measured on 535.261.03 for the type", gpu=True,
)  # fmt: skip
def memory_that_is_out_of_reach(cuda: Cuda) -> None:
    """There is one type of handle of a range; memory that is not the host's has no address of 32 bits for a device."""
    cuda.context()
    room, address = cuda.out("int"), allocate(cuda, 4096)
    cuda.expect(INVALID_VALUE, "cuMemGetHandleForAddressRange", room, address, 4096, 2, 0)
    cuda.expect(INVALID_VALUE, "cuMemGetHandleForAddressRange", None, address, 4096, 1, 0)
    cuda.untouched(room)
    pointer, elsewhere = cuda.out("CUdeviceptr_v1"), cuda.ffi.new("char[]", 64)
    cuda.expect(INVALID_VALUE, "cuMemHostGetDevicePointer", None, elsewhere, 0)
    cuda.expect(INVALID_VALUE, "cuMemHostGetDevicePointer", pointer, elsewhere, 0)
    cuda.untouched(pointer)


@rule("cuLaunch", "cuLaunchGrid", "cuLaunchGridAsync", source="cuda.h 12.9, cuLaunchGrid", gpu=True)
def a_function_without_a_block(cuda: Cuda) -> None:
    """A function that was given no block is not launched."""
    cuda.context()
    code = function(cuda, "second")
    for name, arguments in (("cuLaunch", ()), ("cuLaunchGrid", (1, 1)), ("cuLaunchGridAsync", (1, 1, None))):
        cuda.expect(INVALID_VALUE, name, code, *arguments)
        cuda.expect(INVALID_HANDLE, name, None, *arguments)


@rule("cuLaunchCooperativeKernelMultiDevice", source="cuda.h 12.9, cuLaunchCooperativeKernelMultiDevice", gpu=True)
def launches_of_no_device(cuda: Cuda) -> None:
    """Launches on several devices need a list, which is not empty, and known flags."""
    cuda.context()
    listed = cuda.struct("CUDA_LAUNCH_PARAMS", function=function(cuda, "second"))
    for arguments in ((None, 1, 0), (listed, 0, 0), (listed, 1, 0x80)):
        cuda.expect(INVALID_VALUE, "cuLaunchCooperativeKernelMultiDevice", *arguments)


@rule(
    "cuParamSetSize", "cuParamSeti", "cuParamSetf", "cuParamSetv", "cuFuncSetSharedSize", source=_CUDA_2, gpu=True,
)  # fmt: skip
def parameters_of_cuda_2(cuda: Cuda) -> None:
    """Parameters have a place in 4096 bytes; no function has none, nor more shared memory than there is."""
    cuda.context()
    code, number = function(cuda, "second"), cuda.ffi.new("int *", 5)
    for name, right, wrong in (
        ("cuParamSetSize", (8,), (1 << 20,)),
        ("cuParamSeti", (0, 5), (-4, 5)),
        ("cuParamSetf", (4, 5.0), (1 << 20, 5.0)),
        ("cuParamSetv", (0, number, 4), (0, None, 4)),
        ("cuFuncSetSharedSize", (512,), (1 << 30,)),
    ):
        cuda.ok(name, code, *right)
        cuda.expect((INVALID_VALUE, OUT_OF_RESOURCES, TOO_LARGE), name, code, *wrong)
        cuda.expect(NO_HANDLE, name, None, *right)


@rule(
    "cuFuncSetCacheConfig", "cuKernelSetCacheConfig", "cuFuncSetSharedMemConfig",
    source="cuda.h 13.5, CUfunc_cache, CUsharedconfig", gpu=True,
)  # fmt: skip
def preferences_of_a_function(cuda: Cuda) -> None:
    """A function takes each preference that there is, and no other."""
    cuda.context()
    code, other = function(cuda, "second"), kernel(cuda, "second")
    for name, of, most, rest in (
        ("cuFuncSetCacheConfig", code, 3, ()),
        ("cuKernelSetCacheConfig", other, 3, (0,)),
        ("cuFuncSetSharedMemConfig", code, 2, ()),
    ):
        for preference in range(most + 1):
            cuda.ok(name, of, preference, *rest)
        for wrong in (-1, most + 1):
            cuda.expect(INVALID_VALUE, name, of, wrong, *rest)
        cuda.expect(NO_HANDLE, name, None, 0, *rest)


@rule(
    "cuGraphExecKernelNodeSetParams", "cuGraphExecKernelNodeSetParams_v2", "cuGraphExecEventWaitNodeSetEvent",
    "cuGraphExecExternalSemaphoresSignalNodeSetParams", "cuGraphExecExternalSemaphoresWaitNodeSetParams",
    source="cuda.h 13.5, cuGraphExecKernelNodeSetParams", gpu=True,
)  # fmt: skip
def nodes_of_executable_graphs(cuda: Cuda) -> None:
    """They take other parameters of their type, and none of another type or without any."""
    cuda.context()
    code, graph = function(cuda, "second"), new_graph(cuda)
    kinds = "CUDA_KERNEL_NODE_PARAMS_v1", "CUDA_KERNEL_NODE_PARAMS"
    node = add(cuda, "cuGraphAddKernelNode_v2", kernel_params(cuda, kinds[1], code, 1), graph=graph)
    waiting = add(cuda, "cuGraphAddEventWaitNode", event(cuda), graph=graph)
    executable = ready(cuda, graph)
    for name, kind in zip(("cuGraphExecKernelNodeSetParams", "cuGraphExecKernelNodeSetParams_v2"), kinds, strict=True):
        cuda.ok(name, executable, node, kernel_params(cuda, kind, code, 5))
        cuda.expect(INVALID_VALUE, name, executable, waiting, kernel_params(cuda, kind, code, 5))
        cuda.expect(INVALID_VALUE, name, executable, node, None)
    cuda.ok("cuGraphExecEventWaitNodeSetEvent", executable, waiting, event(cuda))
    cuda.expect(INVALID_VALUE, "cuGraphExecEventWaitNodeSetEvent", executable, node, event(cuda))
    for kind in ("Signal", "Wait"):
        cuda.expect(INVALID_VALUE, f"cuGraphExecExternalSemaphores{kind}NodeSetParams", executable, node, None)


@rule("cuStreamAttachMemAsync", source="cuda.h 13.5, cuStreamAttachMemAsync", gpu=True)
def memory_of_a_stream(cuda: Cuda) -> None:
    """Managed memory is attached, other memory is not, nor with flags that there are not."""
    cuda.context()
    handle, address = stream(cuda), cuda.out("CUdeviceptr")
    cuda.ok("cuMemAllocManaged", address, 4096, GLOBAL)
    for flags in (GLOBAL, HOST):
        cuda.ok("cuStreamAttachMemAsync", handle, cuda.value(address), 0, flags)
    cuda.expect(INVALID_VALUE, "cuStreamAttachMemAsync", handle, cuda.value(address), 0, 0x80)
    cuda.expect(INVALID_VALUE, "cuStreamAttachMemAsync", handle, allocate(cuda, 4096), 0, GLOBAL)
