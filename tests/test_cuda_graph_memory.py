"""Memory of graphs' nodes in process: accounting, launches that are all or nothing, and who holds what for how long."""

import pytest
from support.memory import free, small

from vgpu_harness._wire import ffi

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NOT_SUPPORTED = 0, 1, 2, 801
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED = 900, 901
MIB = 1 << 20
USED, USED_HIGH, RESERVED, RESERVED_HIGH = range(4)
AUTO_FREE, DEVICE_LAUNCH = 1, 4
RELAXED = 2

two = pytest.mark.vgpu(host={"gpu": [{}, {}]})


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0), with a context."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    assert vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
    return vgpu_cuda


def made(cuda, name: str, kind: str, *arguments):
    """The handle that a function makes."""
    out = ffi.new(f"{kind} *")
    assert getattr(cuda, name)(out, *arguments) == SUCCESS
    return out[0]


def graph_of(cuda):
    """A new graph."""
    return made(cuda, "cuGraphCreate", "CUgraph", 0)


def allocation(size: int = MIB, **fields):
    """Parameters of memory on device 0."""
    params = ffi.new("CUDA_MEM_ALLOC_NODE_PARAMS *", {"bytesize": size, **fields})
    params.poolProps.allocType, params.poolProps.location.type = 1, 1
    return params


def allocating(cuda, graph, size: int = MIB, *before):
    """A node that allocates: the node and the address."""
    params, array = allocation(size), ffi.new("CUgraphNode[]", list(before))
    node = made(cuda, "cuGraphAddMemAllocNode", "CUgraphNode", graph, array, len(before), params)
    return node, params.dptr


def freeing(cuda, graph, address, *before):
    """A node that frees."""
    array = ffi.new("CUgraphNode[]", list(before))
    return made(cuda, "cuGraphAddMemFreeNode", "CUgraphNode", graph, array, len(before), address)


def executable(cuda, graph, flags: int = 0):
    """The graph, instantiated."""
    return made(cuda, "cuGraphInstantiateWithFlags", "CUgraphExec", graph, flags)


def said(cuda, attribute: int, device: int = 0) -> int:
    """A number of what graphs have on a device."""
    code, value = cuda.number("cuDeviceGetGraphMemAttribute", "cuuint64_t", before=(device, attribute))
    assert code == SUCCESS
    return value


def held(cuda, device: int = 0) -> int:
    """What is allocated and not freed: a trim leaves it. In steps of 2 MiB."""
    assert cuda.cuDeviceGraphMemTrim(device) == SUCCESS
    return said(cuda, RESERVED, device)


def launched(cuda, handle) -> int:
    """The code of a launch in the default stream."""
    return cuda.cuGraphLaunch(handle, ffi.NULL)


class TestCounting:
    @small
    def test_free_memory_follows_what_is_reserved(self, cuda):
        """Nodes and executable graphs cost nothing; a launch takes memory of the device, a trim gives it back."""
        before, graph = free(cuda), graph_of(cuda)
        _, address = allocating(cuda, graph, 3 * MIB)
        handle = executable(cuda, graph)
        assert free(cuda) == before
        assert launched(cuda, handle) == SUCCESS
        assert [said(cuda, of) for of in range(4)] == [4 * MIB] * 4
        assert free(cuda) == before - 4 * MIB
        assert cuda.cuMemFree_v2(address) == SUCCESS
        assert [said(cuda, of) for of in range(4)] == [4 * MIB] * 4
        assert free(cuda) == before - 4 * MIB
        assert cuda.cuDeviceGraphMemTrim(0) == SUCCESS
        assert free(cuda) == before
        assert [said(cuda, of) for of in range(4)] == [0, 4 * MIB, 0, 4 * MIB]

    @small
    def test_graphs_share_what_they_use_one_after_the_other(self, cuda):
        """Executable graphs keep memory mapped while they live, and all the same memory; the last one gives it back."""
        handles = []
        for size in (6 * MIB, 2 * MIB):
            graph = graph_of(cuda)
            node, address = allocating(cuda, graph, size)
            freeing(cuda, graph, address, node)
            handles.append(executable(cuda, graph))
            assert launched(cuda, handles[-1]) == SUCCESS
            assert (said(cuda, USED), said(cuda, RESERVED)) == (6 * MIB, 6 * MIB)
        for handle, left in zip(handles, (2 * MIB, 0), strict=True):
            assert cuda.cuGraphExecDestroy(handle) == SUCCESS
            assert (said(cuda, USED), said(cuda, RESERVED)) == (left, 6 * MIB)

    @small
    def test_what_is_freed_in_a_graph_is_used_again_in_it(self, cuda):
        """A launch reserves what is there at most at one time, not the sum."""
        graph = graph_of(cuda)
        last = ()
        for _ in range(4):
            node, address = allocating(cuda, graph, 4 * MIB, *last)
            last = (freeing(cuda, graph, address, node),)
        assert launched(cuda, executable(cuda, graph)) == SUCCESS
        assert [said(cuda, of) for of in range(4)] == [4 * MIB] * 4

    @small
    def test_an_upload_reserves(self, cuda):
        """cuGraphUpload takes the memory that the launch then uses, and allocates nothing."""
        graph = graph_of(cuda)
        _, address = allocating(cuda, graph)
        handle = executable(cuda, graph)
        assert cuda.cuGraphUpload(handle, ffi.NULL) == SUCCESS
        assert (said(cuda, USED), said(cuda, RESERVED), held(cuda)) == (2 * MIB, 2 * MIB, 0)
        assert cuda.cuMemFree_v2(address) == INVALID_VALUE
        assert launched(cuda, handle) == SUCCESS
        assert cuda.cuGraphUpload(handle, ffi.NULL) == SUCCESS
        assert (said(cuda, USED), held(cuda)) == (2 * MIB, 2 * MIB)

    @small
    def test_a_launch_is_all_or_nothing(self, cuda):
        """Where the device has too little for one of the nodes, none is done, and no memory is lost."""
        before, graph, target = free(cuda), graph_of(cuda), made(cuda, "cuMemAlloc_v2", "CUdeviceptr", 1)
        fill = ffi.new(
            "CUDA_MEMSET_NODE_PARAMS *", {"dst": target, "value": 7, "elementSize": 1, "width": 1, "height": 1}
        )
        made(cuda, "cuGraphAddMemsetNode", "CUgraphNode", graph, ffi.NULL, 0, fill, ffi.NULL)
        allocating(cuda, graph)
        _, large = allocating(cuda, graph, before)
        handle = executable(cuda, graph)
        assert launched(cuda, handle) == OUT_OF_MEMORY
        assert (said(cuda, USED), said(cuda, RESERVED), free(cuda)) == (0, 0, before - 1)
        byte = ffi.new("char *", b"x")
        assert (cuda.cuMemcpyDtoH_v2(byte, target, 1), byte[0]) == (SUCCESS, b"\0")
        assert cuda.cuMemFree_v2(large) == INVALID_VALUE

    @small
    @pytest.mark.parametrize("size", [2**64 - 1, 2**63, 2**48])
    def test_sizes_that_no_device_has(self, cuda, size):
        """There are no addresses, or no memory, for them; nothing overflows."""
        graph, node = graph_of(cuda), ffi.new("CUgraphNode *")
        code = cuda.cuGraphAddMemAllocNode(node, graph, ffi.NULL, 0, allocation(size))
        if code == SUCCESS:
            code = launched(cuda, executable(cuda, graph))
        assert code == OUT_OF_MEMORY
        assert said(cuda, RESERVED_HIGH) == 0

    @two
    def test_each_device_counts_its_own(self, cuda):
        """Memory of the second device is the second device's, whatever context is current."""
        params, graph = allocation(), graph_of(cuda)
        params.poolProps.location.id = 1
        made(cuda, "cuGraphAddMemAllocNode", "CUgraphNode", graph, ffi.NULL, 0, params)
        assert launched(cuda, executable(cuda, graph)) == SUCCESS
        assert [held(cuda, device) for device in (0, 1)] == [0, 2 * MIB]
        ordinal = ffi.new("int *")
        assert cuda.cuPointerGetAttribute(ordinal, 9, params.dptr) == SUCCESS
        assert ordinal[0] == 1
        assert cuda.cuDeviceGraphMemTrim(2) == cuda.cuDeviceGraphMemTrim(-1) == 101


class TestFrees:
    def test_automatic(self, cuda):
        """With AUTO_FREE_ON_LAUNCH a launch frees what the last one has left, and its contents are gone."""
        graph = graph_of(cuda)
        _, address = allocating(cuda, graph)
        handle = executable(cuda, graph, AUTO_FREE)
        byte = ffi.new("char *")
        for _ in range(3):
            assert launched(cuda, handle) == SUCCESS
            assert (cuda.cuMemcpyDtoH_v2(byte, address, 1), byte[0]) == (SUCCESS, b"\0")
            assert cuda.cuMemsetD8_v2(address, 9, MIB) == SUCCESS
            assert held(cuda) == 2 * MIB
        assert (
            cuda.cuGraphInstantiateWithFlags(ffi.new("CUgraphExec *"), graph_of(cuda), AUTO_FREE | DEVICE_LAUNCH)
            == INVALID_VALUE
        )

    def test_another_graph_frees_it_once(self, cuda):
        """A graph that frees the memory of another is launched after it, not before, and not twice."""
        giving, taking = graph_of(cuda), graph_of(cuda)
        _, address = allocating(cuda, giving)
        freeing(cuda, taking, address)
        give, take = executable(cuda, giving), executable(cuda, taking)
        assert launched(cuda, take) == INVALID_VALUE
        assert launched(cuda, give) == SUCCESS
        assert launched(cuda, take) == SUCCESS
        assert launched(cuda, take) == INVALID_VALUE
        assert held(cuda) == 0
        assert cuda.cuGraphExecDestroy(take) == cuda.cuGraphDestroy(taking) == SUCCESS
        freeing(cuda, giving, address)

    def test_memory_outlives_graphs(self, cuda):
        """The memory of a graph that is destroyed is there until the program frees it."""
        graph = graph_of(cuda)
        _, address = allocating(cuda, graph)
        handle = executable(cuda, graph)
        assert launched(cuda, handle) == SUCCESS
        assert cuda.cuGraphExecDestroy(handle) == cuda.cuGraphDestroy(graph) == SUCCESS
        assert cuda.cuMemsetD8_v2(address, 1, MIB) == SUCCESS
        assert held(cuda) == 2 * MIB
        assert cuda.cuMemFreeAsync(address, ffi.NULL) == SUCCESS
        assert held(cuda) == 0
        assert cuda.cuMemsetD8_v2(address, 1, MIB) == INVALID_VALUE

    def test_the_program_does_not_free_what_a_node_frees(self, cuda):
        """Not even while it is there: the graph that frees it is half done in a host function."""
        graph, codes = graph_of(cuda), []
        node, address = allocating(cuda, graph)
        call = ffi.callback("void(void *)", lambda _data: codes.append(cuda.cuMemFree_v2(address)))
        params = ffi.new("CUDA_HOST_NODE_PARAMS *", {"fn": call})
        before = ffi.new("CUgraphNode[]", [node])
        host = made(cuda, "cuGraphAddHostNode", "CUgraphNode", graph, before, 1, params)
        freeing(cuda, graph, address, host)
        for _ in range(2):
            handle = executable(cuda, graph)
            assert launched(cuda, handle) == launched(cuda, handle) == SUCCESS
            assert cuda.cuGraphExecDestroy(handle) == SUCCESS
        assert codes == [INVALID_VALUE] * 4
        assert held(cuda) == 0

    def test_a_context_leaves_it(self, cuda):
        """Memory of graphs is of no context: it stays when the one ends that was current at the launch."""
        graph, context = graph_of(cuda), ffi.new("CUcontext *")
        _, address = allocating(cuda, graph)
        assert launched(cuda, executable(cuda, graph)) == SUCCESS
        assert cuda.cuCtxPopCurrent_v2(context) == cuda.cuCtxDestroy_v2(context[0]) == SUCCESS
        assert cuda.cuCtxCreate_v2(context, 0, 0) == SUCCESS
        assert cuda.cuMemsetD8_v2(address, 1, MIB) == SUCCESS


class TestNodes:
    def test_parameters(self, cuda):
        """Sizes, locations and peers are checked; the peers are kept, wherever the caller's array has gone."""
        graph, node = graph_of(cuda), ffi.new("CUgraphNode *")
        peers = ffi.new("CUmemAccessDesc[]", [{"location": {"type": 1, "id": 0}, "flags": 3}])
        for params, code in (
            (allocation(0), INVALID_VALUE),
            (allocation(accessDescCount=1), INVALID_VALUE),
            (allocation(accessDescCount=2, accessDescs=peers), INVALID_VALUE),
            (ffi.new("CUDA_MEM_ALLOC_NODE_PARAMS *", {"bytesize": MIB}), INVALID_VALUE),
            (allocation(poolProps={"handleTypes": 1}), NOT_SUPPORTED),
            (allocation(accessDescCount=1, accessDescs=peers), SUCCESS),
        ):
            assert cuda.cuGraphAddMemAllocNode(node, graph, ffi.NULL, 0, params) == code
            assert (params.dptr != 0) == (code == SUCCESS)
        peers[0].flags = 77
        kept = ffi.new("CUDA_MEM_ALLOC_NODE_PARAMS *")
        assert cuda.cuGraphMemAllocNodeGetParams(node[0], kept) == SUCCESS
        assert (kept.accessDescCount, kept.accessDescs[0].flags) == (1, 3)
        peers[0].flags, peers[0].location.id = 3, 4711
        wrong = allocation(accessDescCount=1, accessDescs=peers)
        assert cuda.cuGraphAddMemAllocNode(node, graph, ffi.NULL, 0, wrong) == INVALID_VALUE
        assert cuda.number("cuGraphGetNodes", "size_t", before=(graph, ffi.NULL)) == (SUCCESS, 1)

    def test_deep_within(self, cuda):
        """A graph that was moved into another keeps its memory there, and no graph around it can be copied."""
        outer, inner, out = graph_of(cuda), graph_of(cuda), ffi.new("CUgraphNode *")
        node, address = allocating(cuda, inner)
        params = ffi.new("CUgraphNodeParams *", {"type": 4})
        params.graph.graph = inner
        for ownership, code in ((0, NOT_SUPPORTED), (-1, INVALID_VALUE), (2, INVALID_VALUE), (1, SUCCESS)):
            params.graph.ownership = ownership
            assert cuda.cuGraphAddNode(out, outer, ffi.NULL, 0, params) == code
        assert cuda.cuGraphAddNode(ffi.new("CUgraphNode *"), graph_of(cuda), ffi.NULL, 0, params) == INVALID_VALUE
        kept = ffi.new("CUgraphNodeParams *")
        assert cuda.cuGraphNodeGetParams(out[0], kept) == SUCCESS
        assert (kept.graph.graph, kept.graph.ownership) == (inner, -1)
        assert cuda.cuGraphClone(ffi.new("CUgraph *"), outer) == NOT_SUPPORTED
        assert cuda.cuGraphAddMemAllocNode(out, inner, ffi.NULL, 0, allocation()) == NOT_SUPPORTED
        handle = executable(cuda, outer)
        assert cuda.cuGraphInstantiateWithFlags(ffi.new("CUgraphExec *"), outer, 0) == INVALID_VALUE
        assert launched(cuda, handle) == SUCCESS
        assert launched(cuda, handle) == INVALID_VALUE
        assert cuda.cuGraphDestroy(outer) == SUCCESS
        assert cuda.cuGraphNodeGetType(node, ffi.new("CUgraphNodeType *")) == INVALID_VALUE
        assert cuda.cuMemFree_v2(address) == SUCCESS
        assert launched(cuda, handle) == SUCCESS

    def test_an_update_follows_into_what_was_moved(self, cuda):
        """An executable graph takes the parameters of a graph whose part was moved into it, memory and all."""
        outer, inner, out = graph_of(cuda), graph_of(cuda), ffi.new("CUgraphNode *")
        target, byte = made(cuda, "cuMemAlloc_v2", "CUdeviceptr", 1), ffi.new("char *")
        fields = {"dst": target, "value": 7, "elementSize": 1, "width": 1, "height": 1}
        fill = ffi.new("CUDA_MEMSET_NODE_PARAMS *", fields)
        node = made(cuda, "cuGraphAddMemsetNode", "CUgraphNode", inner, ffi.NULL, 0, fill, ffi.NULL)
        _, address = allocating(cuda, inner)
        params = ffi.new("CUgraphNodeParams *", {"type": 4})
        params.graph.graph, params.graph.ownership = inner, 1
        assert cuda.cuGraphAddNode(out, outer, ffi.NULL, 0, params) == SUCCESS
        handle = executable(cuda, outer)
        fill.value = 9
        assert cuda.cuGraphMemsetNodeSetParams(node, fill) == SUCCESS
        info = ffi.new("CUgraphExecUpdateResultInfo *")
        assert cuda.cuGraphExecUpdate_v2(handle, inner, info) == INVALID_VALUE
        assert cuda.cuGraphExecUpdate_v2(handle, outer, info) == SUCCESS
        assert launched(cuda, handle) == SUCCESS
        assert (cuda.cuMemcpyDtoH_v2(byte, target, 1), byte[0]) == (SUCCESS, b"\t")
        assert cuda.cuMemFree_v2(address) == SUCCESS
        assert held(cuda) == 0

    def test_bodies_of_conditions_have_none(self, cuda):
        """A body takes no node of memory."""
        graph, node = graph_of(cuda), ffi.new("CUgraphNode *")
        handle = made(cuda, "cuGraphConditionalHandleCreate", "CUgraphConditionalHandle", graph, ffi.NULL, 1, 1)
        params = ffi.new("CUgraphNodeParams *", {"type": 13})
        params.conditional.handle, params.conditional.size = handle, 1
        assert cuda.cuGraphAddNode_v2(node, graph, ffi.NULL, ffi.NULL, 0, params) == SUCCESS
        body = params.conditional.phGraph_out[0]
        assert cuda.cuGraphAddMemAllocNode(node, body, ffi.NULL, 0, allocation()) == NOT_SUPPORTED


class TestCapture:
    def begun(self, cuda):
        """A stream that is being captured."""
        handle = made(cuda, "cuStreamCreate", "CUstream", 1)
        assert cuda.cuStreamBeginCapture_v2(handle, RELAXED) == SUCCESS
        return handle

    def test_it_is_the_pools(self, cuda):
        """The node has the properties of the device's pool; the pool itself gives nothing."""
        own = ffi.new("CUmemoryPool *")
        assert cuda.cuDeviceGetDefaultMemPool(own, 0) == SUCCESS
        handle = self.begun(cuda)
        address = made(cuda, "cuMemAllocAsync", "CUdeviceptr", MIB, handle)
        graph, node = ffi.new("CUgraph *"), ffi.new("CUgraphNode *")
        assert cuda.cuStreamEndCapture(handle, graph) == SUCCESS
        assert cuda.cuGraphGetNodes(graph[0], node, ffi.new("size_t *", 1)) == SUCCESS
        params = ffi.new("CUDA_MEM_ALLOC_NODE_PARAMS *")
        assert cuda.cuGraphMemAllocNodeGetParams(node[0], params) == SUCCESS
        assert (params.dptr, params.bytesize, params.accessDescCount) == (address, MIB, 0)
        assert (params.poolProps.allocType, params.poolProps.location.type, params.poolProps.location.id) == (1, 1, 0)
        assert cuda.number("cuMemPoolGetAttribute", "cuuint64_t", before=(own[0], 8)) == (SUCCESS, 0)
        assert launched(cuda, executable(cuda, graph[0])) == SUCCESS
        assert cuda.number("cuMemPoolGetAttribute", "cuuint64_t", before=(own[0], 8)) == (SUCCESS, 0)
        assert held(cuda) == 2 * MIB

    def test_wrong_arguments_do_not_spoil(self, cuda):
        """No room for the address, no size, a stranger's pool: refused, nothing written, and the capture goes on."""
        handle, box = self.begun(cuda), ffi.new("CUdeviceptr *", 5)
        assert cuda.cuMemAllocAsync(ffi.NULL, MIB, handle) == INVALID_VALUE
        assert cuda.cuMemAllocAsync(box, 0, handle) == INVALID_VALUE
        assert cuda.cuMemAllocFromPoolAsync(box, MIB, ffi.NULL, handle) == INVALID_VALUE
        assert box[0] == 5
        graph = ffi.new("CUgraph *")
        assert cuda.cuStreamEndCapture(handle, graph) == SUCCESS

    def test_a_spoiled_capture(self, cuda):
        """Memory is asked for, and given back, in vain."""
        handle, box = self.begun(cuda), ffi.new("CUdeviceptr *", 5)
        assert cuda.cuStreamSynchronize(handle) == CAPTURE_UNSUPPORTED
        assert cuda.cuMemAllocAsync(box, MIB, handle) == CAPTURE_INVALIDATED
        assert cuda.cuMemFreeAsync(5, handle) == CAPTURE_INVALIDATED
        assert box[0] == 5

    def test_what_does_not_fit_is_found_at_the_launch(self, cuda):
        """A captured fill beyond the end of the memory is refused when the graph is launched."""
        handle = self.begun(cuda)
        address = made(cuda, "cuMemAllocAsync", "CUdeviceptr", 64, handle)
        assert cuda.cuMemsetD8Async(address + 32, 1, 64, handle) == SUCCESS
        assert cuda.cuMemsetD8Async(address + 64, 1, 1, handle) == INVALID_VALUE
        graph = ffi.new("CUgraph *")
        assert cuda.cuStreamEndCapture(handle, graph) == SUCCESS
        assert launched(cuda, executable(cuda, graph[0])) == INVALID_VALUE

    @two
    def test_the_device_is_the_streams(self, cuda):
        """Memory comes from the device of the stream, not of the current context (cuda.h 13.5, cuMemAllocAsync)."""
        contexts, ordinal = ffi.new("CUcontext[2]"), ffi.new("int *")
        assert cuda.cuCtxGetCurrent(contexts) == SUCCESS
        assert cuda.cuCtxCreate_v2(contexts + 1, 0, 1) == SUCCESS
        handle = made(cuda, "cuStreamCreate", "CUstream", 1)
        assert cuda.cuCtxSetCurrent(contexts[0]) == SUCCESS
        address = made(cuda, "cuMemAllocAsync", "CUdeviceptr", MIB, handle)
        assert (cuda.cuPointerGetAttribute(ordinal, 9, address), ordinal[0]) == (SUCCESS, 1)
        assert cuda.cuStreamBeginCapture_v2(handle, RELAXED) == SUCCESS
        address, graph = made(cuda, "cuMemAllocAsync", "CUdeviceptr", MIB, handle), ffi.new("CUgraph *")
        assert cuda.cuStreamEndCapture(handle, graph) == SUCCESS
        assert launched(cuda, executable(cuda, graph[0])) == SUCCESS
        assert (cuda.cuPointerGetAttribute(ordinal, 9, address), ordinal[0]) == (SUCCESS, 1)
