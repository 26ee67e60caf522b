/* Capture: cuStreamBeginCapture and its like, until cuStreamEndCapture hands the graph out. */
#include "cuda/capture.h"

#include <stdlib.h>
#include <string.h>

#include "cuda/graph.h"

enum capture_status { STATUS_NONE = 0, STATUS_ACTIVE = 1, STATUS_INVALIDATED = 2 };

enum { UPDATE_ADD = 0, UPDATE_SET = 1 };

static void set_dependencies(struct vgpu_stream *stream, CUgraphNode *nodes, size_t count) {
    free(stream->dependencies);
    stream->dependencies = nodes;
    stream->dependency_count = count;
}

static void leave(struct vgpu_object *object, void *capture) {
    struct vgpu_stream *stream = (struct vgpu_stream *)object;
    if (stream->capture == capture) {
        stream->capture = NULL;
        set_dependencies(stream, NULL, 0);
    }
}

/* `graph`: NULL for a new one. */
static CUresult begin(struct vgpu_process *process, struct vgpu_stream *stream, struct vgpu_graph *graph, int mode) {
    struct vgpu_capture *capture = calloc(1, sizeof(*capture));
    if (capture == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    capture->object = (struct vgpu_object){.kind = VGPU_OBJECT_CAPTURE, .is_part = 1, .end = vgpu_object_free};
    if (!vgpu_object_add(process, &capture->object)) {
        free(capture);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    capture->is_own = graph == NULL;
    graph = graph != NULL ? graph : vgpu_graph_new(process);
    if (graph == NULL) {
        vgpu_object_drop(process, &capture->object);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    capture->graph = vgpu_object_handle(&graph->object);
    capture->mode = mode;
    capture->thread = vgpu_thread_number();
    capture->origin = stream;
    graph->captures++;
    process->cuda->captures++;
    stream->capture = capture;
    return CUDA_SUCCESS;
}

/* All streams of it are as they were before; answers its graph, which is the caller's now, NULL: it is spoiled. */
static struct vgpu_graph *end(struct vgpu_process *process, struct vgpu_capture *capture) {
    struct vgpu_graph *graph = vgpu_graph_find(process, capture->graph);
    vgpu_objects_visit(process, VGPU_OBJECT_STREAM, leave, capture);
    leave(&capture->origin->object, capture); /* which may be on its way out of the table */
    if (graph != NULL) {
        graph->captures--;
    }
    if (graph != NULL && capture->is_spoiled && capture->is_own) {
        vgpu_object_drop(process, &graph->object);
    }
    graph = capture->is_spoiled ? NULL : graph;
    process->cuda->captures--;
    vgpu_object_drop(process, &capture->object);
    return graph;
}

void vgpu_capture_abandon(struct vgpu_process *process, struct vgpu_stream *stream) {
    struct vgpu_capture *capture = stream->capture;
    if (capture != NULL && capture->origin == stream) {
        capture->is_spoiled = 1;
        end(process, capture);
    }
    set_dependencies(stream, NULL, 0);
}

CUresult vgpu_capture_spoil(struct vgpu_process *process, uint64_t capture, CUresult result) {
    struct vgpu_capture *found = vgpu_object_find(process, VGPU_OBJECT_CAPTURE, (const void *)(uintptr_t)capture);
    if (found != NULL) {
        found->is_spoiled = 1;
    }
    return result;
}

static CUresult spoil(struct vgpu_stream *stream, CUresult result) {
    stream->capture->is_spoiled = 1;
    return result;
}

CUresult vgpu_capture_decline(const struct vgpu_stream *stream) {
    if (stream->capture == NULL) {
        return CUDA_SUCCESS;
    }
    return stream->capture->is_spoiled ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult vgpu_capture_refuse(struct vgpu_process *process, struct vgpu_stream *stream) {
    (void)process;
    CUresult refusal = vgpu_capture_decline(stream);
    return refusal == CUDA_SUCCESS ? CUDA_SUCCESS : spoil(stream, refusal);
}

/* The stream's dependencies are this node alone. */
static CUresult follow(struct vgpu_stream *stream, CUgraphNode node) {
    CUgraphNode *nodes = malloc(sizeof(CUgraphNode));
    if (nodes == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    nodes[0] = node;
    set_dependencies(stream, nodes, 1);
    return CUDA_SUCCESS;
}

CUresult vgpu_capture_node(struct vgpu_process *process, struct vgpu_stream *stream, const CUgraphNodeParams *params) {
    struct vgpu_capture *capture = stream->capture;
    if (capture->is_spoiled) {
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    CUgraphNode node;
    struct vgpu_dependencies before = {stream->dependencies, NULL, stream->dependency_count};
    struct vgpu_graph *graph = vgpu_graph_find(process, capture->graph);
    CUresult result = graph != NULL ? vgpu_graph_add(process, graph, before, params, &node) : CUDA_ERROR_INVALID_VALUE;
    return result == CUDA_SUCCESS ? follow(stream, node) : spoil(stream, result);
}

static int has(const CUgraphNode *nodes, size_t count, CUgraphNode node) {
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] == node) {
            return 1;
        }
    }
    return 0;
}

/* 1, or 0: no memory. */
static int add_dependencies(struct vgpu_stream *stream, const CUgraphNode *nodes, size_t count) {
    size_t room = stream->dependency_count + count;
    CUgraphNode *all = room > 0 ? realloc(stream->dependencies, room * sizeof(CUgraphNode)) : stream->dependencies;
    if (room > 0 && all == NULL) {
        return 0;
    }
    stream->dependencies = all;
    for (size_t i = 0; i < count; i++) {
        if (!has(all, stream->dependency_count, nodes[i])) {
            all[stream->dependency_count++] = nodes[i];
        }
    }
    return 1;
}

CUresult vgpu_capture_record(struct vgpu_process *process, struct vgpu_stream *stream, struct vgpu_cuda_event *event,
                             int external) {
    if (external) {
        CUgraphNodeParams params = {.type = VGPU_NODE_EVENT_RECORD};
        params.event.event = vgpu_object_handle(&event->object);
        return vgpu_capture_node(process, stream, &params);
    }
    if (stream->capture->is_spoiled) {
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    size_t count = stream->dependency_count;
    CUgraphNode *nodes = malloc((count + 1) * sizeof(CUgraphNode));
    if (nodes == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (count > 0) {
        memcpy(nodes, stream->dependencies, count * sizeof(CUgraphNode));
    }
    free(event->nodes);
    event->nodes = nodes;
    event->node_count = count;
    event->capture = stream->capture->object.handle;
    event->recorded = 1;
    return CUDA_SUCCESS;
}

CUresult vgpu_capture_wait(struct vgpu_process *process, struct vgpu_stream *stream, struct vgpu_cuda_event *event,
                           int external) {
    if (stream->capture != NULL && external) {
        CUgraphNodeParams params = {.type = VGPU_NODE_WAIT_EVENT};
        params.event.event = vgpu_object_handle(&event->object);
        return vgpu_capture_node(process, stream, &params);
    }
    if (stream->capture != NULL && stream->capture->is_spoiled) {
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    if (event->capture == 0) {
        return stream->capture != NULL ? spoil(stream, CUDA_ERROR_STREAM_CAPTURE_ISOLATION) : CUDA_SUCCESS;
    }
    struct vgpu_capture *capture =
        vgpu_object_find(process, VGPU_OBJECT_CAPTURE, (const void *)(uintptr_t)event->capture);
    if (capture == NULL) { /* its graph has been handed out: what it stands for is no work */
        return CUDA_ERROR_CAPTURED_EVENT;
    }
    if (stream->capture != NULL && stream->capture != capture) {
        capture->is_spoiled = 1;
        return spoil(stream, CUDA_ERROR_STREAM_CAPTURE_MERGE);
    }
    if (stream->special == VGPU_STREAM_LEGACY) {
        return vgpu_capture_spoil(process, event->capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    }
    stream->capture = capture;
    return add_dependencies(stream, event->nodes, event->node_count) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult begin_in(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                         struct vgpu_graph *graph, int mode, struct vgpu_stream **stream) {
    CUresult refusal = vgpu_stream_find(process, call, hStream, stream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    /* The stream that all others wait for cannot be captured (doc). */
    if ((*stream)->special == VGPU_STREAM_LEGACY) {
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if ((*stream)->capture != NULL) {
        return CUDA_ERROR_ILLEGAL_STATE;
    }
    return begin(process, *stream, graph, mode);
}

CUresult vgpu_cuStreamBeginCapture_v2(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                      CUstreamCaptureMode mode) {
    struct vgpu_stream *stream;
    return vgpu_capture_is_mode(mode) ? begin_in(process, call, hStream, NULL, mode, &stream)
                                      : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuStreamBeginCapture(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream) {
    return vgpu_cuStreamBeginCapture_v2(process, call, hStream, VGPU_CAPTURE_GLOBAL);
}

CUresult vgpu_cuStreamBeginCaptureToGraph(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                          CUgraph hGraph, const CUgraphNode *dependencies,
                                          const CUgraphEdgeData *dependencyData, size_t numDependencies,
                                          CUstreamCaptureMode mode) {
    struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    if (graph == NULL || !vgpu_capture_is_mode(mode) || (numDependencies > 0 && dependencies == NULL) ||
        dependencyData != NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < numDependencies; i++) {
        const struct vgpu_node *node = vgpu_node_find(process, dependencies[i]);
        if (node == NULL || node->graph != graph) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    struct vgpu_stream *stream;
    CUresult result = begin_in(process, call, hStream, graph, mode, &stream);
    if (result == CUDA_SUCCESS && !add_dependencies(stream, dependencies, numDependencies)) {
        result = spoil(stream, CUDA_ERROR_OUT_OF_MEMORY);
    }
    return result;
}

/* What is left to be joined: work of another stream of the capture that the stream it began in does not wait for. */
struct unjoined {
    struct vgpu_process *process;
    const struct vgpu_capture *capture;
    int found;
};

static void look_for_unjoined(struct vgpu_object *object, void *data) {
    struct unjoined *unjoined = data;
    const struct vgpu_stream *stream = (const struct vgpu_stream *)object;
    const struct vgpu_stream *origin = unjoined->capture->origin;
    if (stream->capture != unjoined->capture || stream == origin) {
        return;
    }
    for (size_t i = 0; i < stream->dependency_count; i++) {
        const struct vgpu_node *node = vgpu_node_find(unjoined->process, stream->dependencies[i]);
        int joined = node == NULL;
        for (size_t j = 0; j < origin->dependency_count && !joined; j++) {
            const struct vgpu_node *last = vgpu_node_find(unjoined->process, origin->dependencies[j]);
            joined = last != NULL && vgpu_node_is_after(last, node);
        }
        unjoined->found |= !joined;
    }
}

CUresult vgpu_cuStreamEndCapture(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                 CUgraph *phGraph) {
    struct vgpu_stream *stream;
    CUresult refusal = phGraph == NULL ? CUDA_ERROR_INVALID_VALUE : vgpu_stream_find(process, call, hStream, &stream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_capture *capture = stream->capture;
    if (capture == NULL) {
        return CUDA_ERROR_ILLEGAL_STATE;
    }
    if (capture->origin != stream) {
        return spoil(stream, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    }
    if (capture->mode != VGPU_CAPTURE_RELAXED && capture->thread != vgpu_thread_number()) {
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    }
    struct unjoined unjoined = {process, capture, 0};
    vgpu_objects_visit(process, VGPU_OBJECT_STREAM, look_for_unjoined, &unjoined);
    CUresult result = capture->is_spoiled ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                      : unjoined.found    ? CUDA_ERROR_STREAM_CAPTURE_UNJOINED
                                          : CUDA_SUCCESS;
    capture->is_spoiled = result != CUDA_SUCCESS;
    struct vgpu_graph *graph = end(process, capture);
    *phGraph = graph != NULL ? vgpu_object_handle(&graph->object) : NULL;
    vgpu_call_output(call, phGraph, sizeof(*phGraph));
    return result;
}

static int status_of(const struct vgpu_stream *stream) {
    return stream->capture == NULL ? STATUS_NONE : stream->capture->is_spoiled ? STATUS_INVALIDATED : STATUS_ACTIVE;
}

CUresult vgpu_cuStreamIsCapturing(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                  CUstreamCaptureStatus *captureStatus) {
    struct vgpu_stream *stream;
    CUresult result =
        captureStatus == NULL ? CUDA_ERROR_INVALID_VALUE : vgpu_stream_find(process, call, hStream, &stream);
    result = result == CUDA_SUCCESS ? vgpu_capture_check_implicit(process, stream) : result;
    if (result == CUDA_SUCCESS) {
        *captureStatus = status_of(stream);
        vgpu_call_output(call, captureStatus, sizeof(*captureStatus));
    }
    return result;
}

/* Edges of captured work have no data, so there is none to hand out. */
CUresult vgpu_cuStreamGetCaptureInfo_v3(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                        CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out,
                                        CUgraph *graph_out, const CUgraphNode **dependencies_out,
                                        const CUgraphEdgeData **edgeData_out, size_t *numDependencies_out) {
    if (captureStatus_out == NULL || (edgeData_out != NULL && dependencies_out == NULL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_stream *stream;
    CUresult result = vgpu_stream_find(process, call, hStream, &stream);
    result = result == CUDA_SUCCESS ? vgpu_capture_check_implicit(process, stream) : result;
    if (result != CUDA_SUCCESS) {
        return result;
    }
    *captureStatus_out = status_of(stream);
    vgpu_call_output(call, captureStatus_out, sizeof(*captureStatus_out));
    if (*captureStatus_out != STATUS_ACTIVE) {
        return CUDA_SUCCESS;
    }
    if (id_out != NULL) {
        *id_out = stream->capture->object.handle;
        vgpu_call_output(call, id_out, sizeof(*id_out));
    }
    if (graph_out != NULL) {
        *graph_out = stream->capture->graph;
    }
    if (dependencies_out != NULL) {
        *dependencies_out = stream->dependencies;
    }
    if (edgeData_out != NULL) {
        *edgeData_out = NULL;
    }
    if (numDependencies_out != NULL) {
        *numDependencies_out = stream->dependency_count;
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuStreamGetCaptureInfo_v2(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                        CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out,
                                        CUgraph *graph_out, const CUgraphNode **dependencies_out,
                                        size_t *numDependencies_out) {
    return vgpu_cuStreamGetCaptureInfo_v3(process, call, hStream, captureStatus_out, id_out, graph_out,
                                          dependencies_out, NULL, numDependencies_out);
}

CUresult vgpu_cuStreamGetCaptureInfo(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                     CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out) {
    return vgpu_cuStreamGetCaptureInfo_v3(process, call, hStream, captureStatus_out, id_out, NULL, NULL, NULL, NULL);
}

CUresult vgpu_cuStreamUpdateCaptureDependencies_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                   CUstream hStream, CUgraphNode *dependencies,
                                                   const CUgraphEdgeData *dependencyData, size_t numDependencies,
                                                   unsigned int flags) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_find(process, call, hStream, &stream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (status_of(stream) != STATUS_ACTIVE) {
        return CUDA_ERROR_ILLEGAL_STATE;
    }
    if (flags > UPDATE_SET || (numDependencies > 0 && dependencies == NULL) || dependencyData != NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < numDependencies; i++) {
        const struct vgpu_node *node = vgpu_node_find(process, dependencies[i]);
        if (node == NULL || vgpu_object_handle(&node->graph->object) != stream->capture->graph) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    /* The list may be the stream's own, as cuStreamGetCaptureInfo hands it out: it is freed when all has been read. */
    CUgraphNode *before = stream->dependencies;
    size_t kept = flags == UPDATE_ADD ? stream->dependency_count : 0;
    stream->dependencies = NULL;
    stream->dependency_count = 0;
    int added = add_dependencies(stream, before, kept) && add_dependencies(stream, dependencies, numDependencies);
    free(before);
    return added ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult vgpu_cuStreamUpdateCaptureDependencies(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                                CUgraphNode *dependencies, size_t numDependencies, unsigned int flags) {
    return vgpu_cuStreamUpdateCaptureDependencies_v2(process, call, hStream, dependencies, NULL, numDependencies,
                                                     flags);
}
