"""Graphs in process: edges, copies, launches, what lives how long, and circles of any length."""

import random
import resource
from pathlib import Path

import pytest

from vgpu_harness._wire import ffi

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NOT_SUPPORTED = 0, 1, 2, 801


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


def empty(cuda, graph, *before):
    """An empty node after others."""
    array = ffi.new("CUgraphNode[]", list(before))
    return made(cuda, "cuGraphAddEmptyNode", "CUgraphNode", graph, array, len(before))


def executable(cuda, graph):
    """The graph, instantiated."""
    return made(cuda, "cuGraphInstantiateWithFlags", "CUgraphExec", graph, 0)


def host_node(cuda, graph, call, data: int, *before):
    """A node that calls a function with a number."""
    params = ffi.new("CUDA_HOST_NODE_PARAMS *", {"fn": call, "userData": ffi.cast("void *", data)})
    array = ffi.new("CUgraphNode[]", list(before))
    return made(cuda, "cuGraphAddHostNode", "CUgraphNode", graph, array, len(before), params)


class TestEdges:
    @pytest.mark.parametrize("seed", range(5))
    def test_no_circle_is_ever_made(self, cuda, seed):
        """Random edges: those that would close a circle are refused, exactly, and leave all as it was."""
        numbers = random.Random(seed)
        graph, count = graph_of(cuda), 12
        nodes = [empty(cuda, graph) for _ in range(count)]
        before: dict[int, set[int]] = {i: set() for i in range(count)}

        def reaches(start: int, end: int) -> bool:
            return start == end or any(reaches(other, end) for other in before[start])

        for _ in range(80):
            first, second = numbers.randrange(count), numbers.randrange(count)
            wanted = first not in before[second] and not reaches(first, second)
            ends = ffi.new("CUgraphNode[]", [nodes[first]]), ffi.new("CUgraphNode[]", [nodes[second]])
            assert (cuda.cuGraphAddDependencies(graph, *ends, 1) == SUCCESS) == wanted
            if wanted:
                before[second].add(first)
        assert cuda.number("cuGraphGetEdges", "size_t", before=(graph, ffi.NULL, ffi.NULL))[1] == sum(
            map(len, before.values())
        )

    def test_all_edges_or_none(self, cuda):
        """If the last of several edges is refused, none of them is there."""
        graph = graph_of(cuda)
        first, second = empty(cuda, graph), empty(cuda, graph)
        froms, tos = ffi.new("CUgraphNode[]", [first, second]), ffi.new("CUgraphNode[]", [second, first])
        assert cuda.cuGraphAddDependencies(graph, froms, tos, 2) == INVALID_VALUE
        assert cuda.number("cuGraphGetEdges", "size_t", before=(graph, ffi.NULL, ffi.NULL)) == (SUCCESS, 0)

    def test_nodes_of_other_graphs(self, cuda):
        """An edge, and a dependency, to a node of another graph are refused, and no node is left behind."""
        graph, other = graph_of(cuda), graph_of(cuda)
        stranger, node = empty(cuda, other), ffi.new("CUgraphNode *")
        array = ffi.new("CUgraphNode[]", [stranger])
        assert cuda.cuGraphAddEmptyNode(node, graph, array, 1) == INVALID_VALUE
        assert cuda.cuGraphAddDependencies(graph, array, array, 1) == INVALID_VALUE
        assert cuda.number("cuGraphGetNodes", "size_t", before=(graph, ffi.NULL)) == (SUCCESS, 0)

    def test_thousands_of_nodes(self, cuda):
        """A long chain is built, cloned, instantiated, run in order, and destroyed."""
        seen, graph, last = [], graph_of(cuda), ()
        call = ffi.callback("void(void *)", lambda data: seen.append(int(ffi.cast("uintptr_t", data))))
        for i in range(2000):
            last = (host_node(cuda, graph, call, i, *last),)
        assert cuda.cuGraphLaunch(executable(cuda, graph), ffi.NULL) == SUCCESS
        assert seen == list(range(2000))
        assert cuda.cuGraphDestroy(graph) == SUCCESS

    def test_order_is_that_of_the_edges(self, cuda):
        """Nodes run after those that they wait for, although they were made before them."""
        seen, graph = [], graph_of(cuda)
        call = ffi.callback("void(void *)", lambda data: seen.append(int(ffi.cast("uintptr_t", data))))
        nodes = [host_node(cuda, graph, call, i) for i in range(3)]
        froms, tos = ffi.new("CUgraphNode[]", [nodes[2], nodes[1]]), ffi.new("CUgraphNode[]", [nodes[1], nodes[0]])
        assert cuda.cuGraphAddDependencies(graph, froms, tos, 2) == SUCCESS
        assert cuda.cuGraphLaunch(executable(cuda, graph), ffi.NULL) == SUCCESS
        assert seen == [2, 1, 0]


class TestLife:
    def test_an_executable_outlives_its_graph(self, cuda):
        """The graph may be destroyed, and its nodes be none, while the executable one runs on."""
        seen, graph = [], graph_of(cuda)
        call = ffi.callback("void(void *)", lambda _data: seen.append(1))
        node = host_node(cuda, graph, call, 0)
        handle = executable(cuda, graph)
        assert cuda.cuGraphDestroy(graph) == SUCCESS
        assert cuda.cuGraphNodeGetType(node, ffi.new("CUgraphNodeType *")) == INVALID_VALUE
        assert cuda.cuGraphLaunch(handle, ffi.NULL) == SUCCESS
        assert seen == [1]

    def test_a_host_function_may_destroy_what_runs(self, cuda):
        """A graph whose host function destroys the executable graph and calls in goes on to its end."""
        seen, graph, handles = [], graph_of(cuda), []

        def end(_data) -> None:
            seen.append(cuda.cuGraphExecDestroy(handles[0]))

        first = ffi.callback("void(void *)", end)
        second = ffi.callback("void(void *)", lambda _data: seen.append(cuda.cuCtxSynchronize()))
        host_node(cuda, graph, second, 0, host_node(cuda, graph, first, 0))
        handles.append(executable(cuda, graph))
        assert cuda.cuGraphLaunch(handles[0], ffi.NULL) == SUCCESS
        assert seen == [SUCCESS, SUCCESS]

    def test_a_part_is_not_destroyed_by_itself(self, cuda):
        """The graph within a node goes with the node alone."""
        graph, child, within = graph_of(cuda), graph_of(cuda), ffi.new("CUgraph *")
        empty(cuda, child)
        node = made(cuda, "cuGraphAddChildGraphNode", "CUgraphNode", graph, ffi.NULL, 0, child)
        assert cuda.cuGraphChildGraphNodeGetGraph(node, within) == SUCCESS
        assert cuda.cuGraphDestroy(within[0]) == INVALID_VALUE
        assert cuda.cuGraphDestroyNode(node) == SUCCESS
        assert cuda.cuGraphNodeGetType(node, ffi.new("CUgraphNodeType *")) == INVALID_VALUE

    def test_a_graph_is_never_in_itself(self, cuda):
        """Neither a graph nor one within it takes the graph in, which would have no end."""
        graph, child, within = graph_of(cuda), graph_of(cuda), ffi.new("CUgraph *")
        node = made(cuda, "cuGraphAddChildGraphNode", "CUgraphNode", graph, ffi.NULL, 0, child)
        assert cuda.cuGraphChildGraphNodeGetGraph(node, within) == SUCCESS
        out = ffi.new("CUgraphNode *")
        for place in (graph, within[0]):
            assert cuda.cuGraphAddChildGraphNode(out, place, ffi.NULL, 0, graph) == INVALID_VALUE
        assert cuda.cuGraphAddChildGraphNode(out, within[0], ffi.NULL, 0, child) == SUCCESS

    def test_parameters_stay_where_there_is_no_memory(self, cuda):
        """New parameters that there is no memory for leave the old ones in use."""
        semaphores, kept = ffi.new("CUexternalSemaphore[1]"), ffi.new("CUDA_EXT_SEM_SIGNAL_NODE_PARAMS *")
        own = ffi.new("char[144]")  # one CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS
        fields = {"extSemArray": semaphores, "paramsArray": ffi.cast("void *", own), "numExtSems": 1}
        params = ffi.new("CUDA_EXT_SEM_SIGNAL_NODE_PARAMS *", fields)
        node = made(cuda, "cuGraphAddExternalSemaphoresSignalNode", "CUgraphNode", graph_of(cuda), ffi.NULL, 0, params)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        params.numExtSems = 1 << 24
        resource.setrlimit(resource.RLIMIT_AS, (size + (16 << 20), hard))
        try:
            code = cuda.cuGraphExternalSemaphoresSignalNodeSetParams(node, params)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert code == OUT_OF_MEMORY
        assert cuda.cuGraphExternalSemaphoresSignalNodeGetParams(node, kept) == SUCCESS
        assert kept.numExtSems == 1
        assert ffi.NULL not in (kept.extSemArray, kept.paramsArray)


class TestSizes:
    @pytest.mark.parametrize(
        "wrong",
        [{"elementSize": 3}, {"elementSize": 0}, {"width": 0}, {"height": 0}, {"elementSize": 2, "dst": 1},
         {"elementSize": 2, "width": 2**63}, {"elementSize": 4, "width": 2**62, "height": 2},
         {"height": 2, "pitch": 7}],
    )  # fmt: skip
    def test_a_fill_that_no_memory_has(self, cuda, wrong):
        """Elements, rows and their product are checked when the node is made; nothing overflows."""
        fields = {"dst": 4096, "elementSize": 1, "width": 8, "height": 1} | wrong
        params, node = ffi.new("CUDA_MEMSET_NODE_PARAMS *", fields), ffi.new("CUgraphNode *")
        assert cuda.cuGraphAddMemsetNode(node, graph_of(cuda), ffi.NULL, 0, params, ffi.NULL) == INVALID_VALUE
        assert node[0] == ffi.NULL


class TestConditions:
    def test_a_switch_has_a_limit(self, cuda):
        """A body is a graph, so billions of them are not made: there is no memory for them."""
        graph, node = graph_of(cuda), ffi.new("CUgraphNode *")
        handle = made(cuda, "cuGraphConditionalHandleCreate", "CUgraphConditionalHandle", graph, ffi.NULL, 0, 1)
        params = ffi.new("CUgraphNodeParams *", {"type": 13})
        params.conditional.handle, params.conditional.type = handle, 2
        for size, code in ((70000, OUT_OF_MEMORY), (2**32 - 1, OUT_OF_MEMORY), (300, SUCCESS)):
            params.conditional.size = size
            assert cuda.cuGraphAddNode_v2(node, graph, ffi.NULL, ffi.NULL, 0, params) == code

    @pytest.mark.parametrize(("value", "size", "kind", "wanted"), [
        (1, 1, 0, [0]), (0, 1, 0, []), (0, 2, 0, [1]), (2, 3, 2, [2]), (5, 3, 2, []), (0, 1, 1, []),
    ])  # fmt: skip
    def test_which_body_runs(self, cuda, value, size, kind, wanted):
        """If: the first body or the second; switch: that of the value; while: none if it is 0."""
        seen, graph, node = [], graph_of(cuda), ffi.new("CUgraphNode *")
        handle = made(cuda, "cuGraphConditionalHandleCreate", "CUgraphConditionalHandle", graph, ffi.NULL, value, 1)
        params = ffi.new("CUgraphNodeParams *", {"type": 13})
        params.conditional.handle, params.conditional.size, params.conditional.type = handle, size, kind
        assert cuda.cuGraphAddNode_v2(node, graph, ffi.NULL, ffi.NULL, 0, params) == SUCCESS
        call = ffi.callback("void(void *)", lambda data: seen.append(int(ffi.cast("uintptr_t", data))))
        for i in range(size):
            host_node(cuda, params.conditional.phGraph_out[i], call, i)
        assert cuda.cuGraphLaunch(executable(cuda, graph), ffi.NULL) == SUCCESS
        assert seen == wanted

    def test_a_loop_without_end_is_refused(self, cuda):
        """A loop whose condition holds would never end, since no kernel can change it."""
        graph, node = graph_of(cuda), ffi.new("CUgraphNode *")
        handle = made(cuda, "cuGraphConditionalHandleCreate", "CUgraphConditionalHandle", graph, ffi.NULL, 1, 1)
        params = ffi.new("CUgraphNodeParams *", {"type": 13})
        params.conditional.handle, params.conditional.size, params.conditional.type = handle, 1, 1
        assert cuda.cuGraphAddNode_v2(node, graph, ffi.NULL, ffi.NULL, 0, params) == SUCCESS
        assert cuda.cuGraphLaunch(executable(cuda, graph), ffi.NULL) == NOT_SUPPORTED


def test_user_objects_end_with_the_last_graph(cuda):
    """Each copy of a graph holds its own reference; the object ends with the last of them."""
    ended = []
    end = ffi.callback("void(void *)", lambda data: ended.append(int(ffi.cast("uintptr_t", data))))
    graph = graph_of(cuda)
    thing = made(cuda, "cuUserObjectCreate", "CUuserObject", ffi.cast("void *", 9), end, 1, 1)
    assert cuda.cuGraphRetainUserObject(graph, thing, 1, 1) == SUCCESS
    handle = executable(cuda, graph)
    clone = made(cuda, "cuGraphClone", "CUgraph", graph)
    assert [cuda.cuGraphDestroy(graph), cuda.cuGraphDestroy(clone), ended] == [SUCCESS, SUCCESS, []]
    assert cuda.cuGraphExecDestroy(handle) == SUCCESS
    assert ended == [9]


@pytest.mark.parametrize("way", ["node destroyed", "parameters replaced"])
def test_user_objects_end_with_a_part(cuda, way):
    """What a part of a graph holds is released when the part goes, although the graph stays."""
    ended: list[int] = []
    end = ffi.callback("void(void *)", lambda _data: ended.append(cuda.cuCtxSynchronize()))
    graph, child = graph_of(cuda), graph_of(cuda)
    thing = made(cuda, "cuUserObjectCreate", "CUuserObject", ffi.NULL, end, 1, 1)
    assert cuda.cuGraphRetainUserObject(child, thing, 1, 1) == SUCCESS
    node = made(cuda, "cuGraphAddChildGraphNode", "CUgraphNode", graph, ffi.NULL, 0, child)
    assert cuda.cuGraphDestroy(child) == SUCCESS
    assert ended == []
    if way == "node destroyed":
        assert cuda.cuGraphDestroyNode(node) == SUCCESS
    else:
        params = ffi.new("CUgraphNodeParams *", {"type": 4})
        params.graph.graph = graph_of(cuda)
        assert cuda.cuGraphNodeSetParams(node, params) == SUCCESS
    assert ended == [SUCCESS], "the function ran once, with the lock free"
