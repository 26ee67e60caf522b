"""Graphs: nodes and edges, copies, what graphs say of themselves."""

import tempfile
from pathlib import Path
from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_capture import counted

INVALID_VALUE, LOSSY_QUERY = 1, 402
EMPTY, HOST, GRAPH = 5, 3, 4  # CUgraphNodeType
PROGRAMMATIC = 1  # CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC


def new_graph(cuda: Cuda) -> Any:
    """A new graph."""
    graph = cuda.out("CUgraph")
    cuda.ok("cuGraphCreate", graph, 0)
    return cuda.value(graph)


def nodes(cuda: Cuda, *handles: Any) -> Any:
    """An array of nodes."""
    return cuda.ffi.new("CUgraphNode[]", list(handles))


def empty(cuda: Cuda, graph: Any, *before: Any) -> Any:
    """An empty node after others."""
    node = cuda.out("CUgraphNode")
    cuda.ok("cuGraphAddEmptyNode", node, graph, nodes(cuda, *before) if before else None, len(before))
    return cuda.value(node)


def listed(cuda: Cuda, name: str, of: Any, extra: int = 0) -> list[Any]:
    """The nodes that a function lists; `extra`: NULLs between the list and its length."""
    count = counted(cuda, name, of, None, *[None] * extra)
    room, length = cuda.out("CUgraphNode", max(count, 1)), cuda.struct("size_t")
    length[0] = count
    cuda.ok(name, of, room, *[None] * extra, length)
    return cuda.values(room, count)


@rule("cuGraphCreate", "cuGraphDestroy", source="cuda.h 13.5, cuGraphCreate; our rule for the handle", gpu=True)
def graphs_begin_empty(cuda: Cuda) -> None:
    """A graph has no nodes; it is made without flags; on a simulated host it is none once it is destroyed."""
    cuda.init()
    graph = new_graph(cuda)
    cuda.equal(counted(cuda, "cuGraphGetNodes", graph, None), 0, "the number of nodes")
    cuda.expect(INVALID_VALUE, "cuGraphCreate", cuda.out("CUgraph"), 1)
    cuda.ok("cuGraphDestroy", graph)
    if cuda.host is not None:
        cuda.expect(INVALID_VALUE, "cuGraphGetNodes", graph, None, cuda.out("size_t"))


@rule(
    "cuGraphAddEmptyNode", "cuGraphGetNodes", "cuGraphGetRootNodes", "cuGraphNodeGetType",
    source="cuda.h 13.5, cuGraphGetNodes, cuGraphGetRootNodes", gpu=True,
)  # fmt: skip
def nodes_are_listed(cuda: Cuda) -> None:
    """A graph lists its nodes, and those that wait for none; a list that is too long ends with NULL."""
    cuda.init()
    graph = new_graph(cuda)
    first, second = empty(cuda, graph), empty(cuda, graph)
    last = empty(cuda, graph, first, second)
    cuda.equal(set(listed(cuda, "cuGraphGetNodes", graph)), {first, second, last}, "the nodes")
    cuda.equal(set(listed(cuda, "cuGraphGetRootNodes", graph)), {first, second}, "the nodes that wait for none")
    room, length, kind = cuda.out("CUgraphNode", 5), cuda.struct("size_t"), cuda.out("CUgraphNodeType")
    length[0] = 5
    cuda.ok("cuGraphGetNodes", graph, room, length)
    cuda.equal((length[0], room[3], room[4]), (3, cuda.null, cuda.null), "length and end of a long list")
    cuda.ok("cuGraphNodeGetType", last, kind)
    cuda.equal(cuda.value(kind), EMPTY, "the type of an empty node")


@rule(
    "cuGraphAddEmptyNode",
    "cuGraphAddDependencies",
    "cuGraphRemoveDependencies",
    source="measured on 535.261.03",
    gpu=False,
)
def null_is_no_graph(cuda: Cuda) -> None:
    """NULL is no graph, before cuInit, too."""
    cuda.expect(INVALID_VALUE, "cuGraphAddEmptyNode", None, None, None, 0)
    for name in ("cuGraphAddDependencies", "cuGraphRemoveDependencies"):
        cuda.expect(INVALID_VALUE, name, None, None, None, 0)


@rule(
    "cuGraphNodeGetDependencies", "cuGraphNodeGetDependencies_v2", "cuGraphNodeGetDependentNodes",
    "cuGraphNodeGetDependentNodes_v2", source="cuda.h 13.5, cuGraphNodeGetDependencies", gpu=True,
)  # fmt: skip
def nodes_know_their_neighbours(cuda: Cuda) -> None:
    """A node knows what it waits for, and what waits for it."""
    cuda.init()
    graph = new_graph(cuda)
    first = empty(cuda, graph)
    second, third = empty(cuda, graph, first), empty(cuda, graph, first)
    for suffix, extra in (("", 0), ("_v2", 1)):
        before = listed(cuda, f"cuGraphNodeGetDependencies{suffix}", third, extra)
        after = listed(cuda, f"cuGraphNodeGetDependentNodes{suffix}", first, extra)
        cuda.equal(before, [first], "what a node waits for")
        cuda.equal(set(after), {second, third}, "what waits for a node")


def _edges(cuda: Cuda, graph: Any, suffix: str) -> set[tuple[Any, Any]]:
    extra = [None] if suffix else []
    count = counted(cuda, f"cuGraphGetEdges{suffix}", graph, None, None, *extra)
    ends, length = (
        (cuda.out("CUgraphNode", max(count, 1)), cuda.out("CUgraphNode", max(count, 1))),
        cuda.struct("size_t"),
    )
    length[0] = count
    cuda.ok(f"cuGraphGetEdges{suffix}", graph, *ends, *extra, length)
    return set(zip(cuda.values(ends[0], count), cuda.values(ends[1], count), strict=True))


@rule(
    "cuGraphAddDependencies", "cuGraphAddDependencies_v2", "cuGraphRemoveDependencies", "cuGraphRemoveDependencies_v2",
    "cuGraphGetEdges", "cuGraphGetEdges_v2", source="cuda.h 13.5, cuGraphAddDependencies", gpu=True,
)  # fmt: skip
def edges_are_added_and_removed(cuda: Cuda) -> None:
    """Edges are added, listed and removed; one that is there, and one that is not, are refused."""
    cuda.init()
    for suffix in ("", "_v2"):
        extra = [None] if suffix else []
        graph = new_graph(cuda)
        first, second, third = (empty(cuda, graph) for _ in range(3))
        pairs = nodes(cuda, first, second), nodes(cuda, second, third)
        cuda.ok(f"cuGraphAddDependencies{suffix}", graph, *pairs, *extra, 2)
        cuda.equal(_edges(cuda, graph, suffix), {(first, second), (second, third)}, "the edges")
        cuda.expect(INVALID_VALUE, f"cuGraphAddDependencies{suffix}", graph, *pairs, *extra, 1)
        cuda.ok(f"cuGraphRemoveDependencies{suffix}", graph, *pairs, *extra, 1)
        cuda.equal(_edges(cuda, graph, suffix), {(second, third)}, "the edges that are left")
        cuda.expect(INVALID_VALUE, f"cuGraphRemoveDependencies{suffix}", graph, *pairs, *extra, 1)


@rule(
    "cuGraphAddDependencies",
    source="our rule: cuda.h says no cycles, a driver says so at the latest when it instantiates",
    gpu=True,
)
def graphs_have_no_circles(cuda: Cuda) -> None:
    """An edge that would close a circle makes no graph that can be instantiated."""
    cuda.init()
    graph = new_graph(cuda)
    first = empty(cuda, graph)
    last = empty(cuda, graph, empty(cuda, graph, first))
    code = cuda.expect(
        INVALID_VALUE if cuda.host is not None else (0, INVALID_VALUE),
        "cuGraphAddDependencies", graph, nodes(cuda, last), nodes(cuda, first), 1,
    )  # fmt: skip
    if code == 0:
        cuda.expect(INVALID_VALUE, "cuGraphInstantiateWithFlags", cuda.out("CUgraphExec"), graph, 0)
    cuda.ok("cuGraphAddDependencies", graph, nodes(cuda, first), nodes(cuda, last), 1)


@rule("cuGraphDestroyNode", source="cuda.h 13.5, cuGraphDestroyNode", gpu=True)
def nodes_are_destroyed_with_their_edges(cuda: Cuda) -> None:
    """A node that is destroyed is in no list, and no edge leads to it or from it."""
    cuda.init()
    graph = new_graph(cuda)
    first = empty(cuda, graph)
    second = empty(cuda, graph, first)
    third = empty(cuda, graph, second)
    cuda.ok("cuGraphDestroyNode", second)
    cuda.equal(set(listed(cuda, "cuGraphGetNodes", graph)), {first, third}, "the nodes that are left")
    cuda.equal(counted(cuda, "cuGraphGetEdges", graph, None, None), 0, "the number of edges")


@rule("cuGraphClone", "cuGraphNodeFindInClone", source="cuda.h 13.5, cuGraphClone", gpu=True)
def graphs_are_cloned(cuda: Cuda) -> None:
    """A clone has the same nodes and edges, which can be found by the originals, and a life of its own."""
    cuda.init()
    graph, copy = new_graph(cuda), cuda.out("CUgraph")
    first = empty(cuda, graph)
    second = empty(cuda, graph, first)
    cuda.ok("cuGraphClone", copy, graph)
    clone, found = cuda.value(copy), []
    for node in (first, second):
        handle = cuda.out("CUgraphNode")
        cuda.ok("cuGraphNodeFindInClone", handle, node, clone)
        found.append(cuda.value(handle))
    cuda.equal(_edges(cuda, clone, ""), {(found[0], found[1])}, "the edges of the clone")
    cuda.ok("cuGraphDestroyNode", second)
    cuda.equal(counted(cuda, "cuGraphGetNodes", clone, None), 2, "the number of nodes of the clone")


@rule(
    "cuGraphAddChildGraphNode", "cuGraphChildGraphNodeGetGraph",
    source="cuda.h 13.5, cuGraphAddChildGraphNode: the child is cloned", gpu=True,
)  # fmt: skip
def graphs_in_graphs(cuda: Cuda) -> None:
    """A child node has a copy of the graph as it was then."""
    cuda.init()
    graph, child, node, said = new_graph(cuda), new_graph(cuda), cuda.out("CUgraphNode"), cuda.out("CUgraph")
    empty(cuda, child)
    cuda.ok("cuGraphAddChildGraphNode", node, graph, None, 0, child)
    empty(cuda, child)
    cuda.ok("cuGraphChildGraphNodeGetGraph", cuda.value(node), said)
    cuda.check(cuda.value(said) != child, "the graph in the node is another one")
    cuda.equal(counted(cuda, "cuGraphGetNodes", cuda.value(said), None), 1, "the number of its nodes")
    kind = cuda.out("CUgraphNodeType")
    cuda.ok("cuGraphNodeGetType", cuda.value(node), kind)
    cuda.equal(cuda.value(kind), GRAPH, "the type of a child node")


@rule(
    "cuGraphNodeGetContainingGraph", "cuGraphNodeGetLocalId", "cuGraphNodeGetToolsId", "cuGraphGetId",
    source="cuda.h 13.5, cuGraphNodeGetContainingGraph, cuGraphNodeGetToolsId", gpu=True,
)  # fmt: skip
def graphs_and_nodes_have_ids(cuda: Cuda) -> None:
    """A node knows its graph; graphs have ids that differ, nodes have one in their graph, and one that is unique."""
    cuda.init()
    tools, graphs = [], []
    for graph in (new_graph(cuda), new_graph(cuda)):
        number = cuda.out("unsigned int")
        cuda.ok("cuGraphGetId", graph, number)
        graphs.append(cuda.value(number))
        local = []
        for node in (empty(cuda, graph), empty(cuda, graph)):
            of, here, everywhere = cuda.out("CUgraph"), cuda.out("unsigned int"), cuda.out("unsigned long long")
            cuda.ok("cuGraphNodeGetContainingGraph", node, of)
            cuda.equal(cuda.value(of), graph, "the graph of a node")
            cuda.ok("cuGraphNodeGetLocalId", node, here)
            cuda.ok("cuGraphNodeGetToolsId", node, everywhere)
            local.append(cuda.value(here))
            tools.append(cuda.value(everywhere))
        cuda.check(local[0] != local[1], "two nodes of a graph have two ids")
    cuda.equal((len(set(tools)), len(set(graphs))), (4, 2), "the number of ids of nodes and graphs")


@rule(
    "cuGraphAddDependencies_v2", "cuGraphGetEdges_v2", "cuGraphNodeGetDependencies_v2",
    source="cuda.h 13.5, CUgraphEdgeData, CUDA_ERROR_LOSSY_QUERY", gpu=True,
)  # fmt: skip
def edges_have_data(cuda: Cuda) -> None:
    """What is said of an edge is kept; who asks without room for it is told that something is left out."""
    cuda.init()
    if cuda.host is None:
        return  # a driver allows such edges between kernels alone
    graph = new_graph(cuda)
    first, second = empty(cuda, graph), empty(cuda, graph)
    data = cuda.struct("CUgraphEdgeData", type=PROGRAMMATIC, from_port=1)
    cuda.ok("cuGraphAddDependencies_v2", graph, nodes(cuda, first), nodes(cuda, second), data, 1)
    said, one = cuda.out("CUgraphEdgeData"), cuda.struct("size_t")
    one[0] = 1
    cuda.ok("cuGraphGetEdges_v2", graph, cuda.out("CUgraphNode"), cuda.out("CUgraphNode"), said, one)
    cuda.equal((cuda.value(said).type, said[0].from_port), (PROGRAMMATIC, 1), "what is said of the edge")
    cuda.expect(LOSSY_QUERY, "cuGraphGetEdges", graph, cuda.out("CUgraphNode"), cuda.out("CUgraphNode"), one)


@rule("cuGraphDebugDotPrint", source="cuda.h 13.5, cuGraphDebugDotPrint", gpu=True)
def graphs_are_drawn(cuda: Cuda) -> None:
    """A graph is written to a file in the language DOT."""
    cuda.init()
    graph = new_graph(cuda)
    empty(cuda, graph, empty(cuda, graph))
    with tempfile.TemporaryDirectory(prefix="vgpu-conform-") as folder:
        path = Path(folder) / "graph.dot"
        cuda.ok("cuGraphDebugDotPrint", graph, str(path), 0)
        cuda.check(path.exists(), "there is a file")
        text = path.read_text()
    cuda.check(text.lstrip().startswith("digraph") and "->" in text, "it is a digraph with an edge")


@rule(
    "cuGraphRetainUserObject", "cuGraphReleaseUserObject", "cuGraphDestroy",
    source="cuda.h 13.5, cuGraphRetainUserObject", gpu=True,
)  # fmt: skip
def graphs_keep_user_objects(cuda: Cuda) -> None:
    """A user object lives as long as a graph has a reference to it."""
    cuda.init()
    ended: list[int] = []

    @cuda.ffi.callback("void(void *)")  # type: ignore[untyped-decorator]
    def end(data: Any) -> None:
        ended.append(int(cuda.ffi.cast("uintptr_t", data)))

    graph, handle = new_graph(cuda), cuda.out("CUuserObject")
    cuda.ok("cuUserObjectCreate", handle, 5, end, 1, 1)
    cuda.ok("cuGraphRetainUserObject", graph, cuda.value(handle), 2, 0)
    cuda.ok("cuUserObjectRelease", cuda.value(handle), 1)
    cuda.ok("cuGraphReleaseUserObject", graph, cuda.value(handle), 1)
    cuda.equal(ended, [], "objects that have ended while a graph holds them")
    if cuda.host is not None:
        cuda.expect(INVALID_VALUE, "cuGraphReleaseUserObject", graph, cuda.value(handle), 2)
    cuda.ok("cuGraphDestroy", graph)
    if cuda.host is not None:  # a driver may end it later, in a thread of its own
        cuda.equal(ended, [5], "objects that have ended with the graph")
