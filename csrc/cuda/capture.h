/* Streams that are being captured: what would be their work becomes nodes of a graph. */
#ifndef VGPU_CUDA_CAPTURE_H
#define VGPU_CUDA_CAPTURE_H

#include "cuda/event.h"
#include "cuda/stream.h"
#include "cuda/structs_graph.h"

enum vgpu_capture_mode { VGPU_CAPTURE_GLOBAL = 0, VGPU_CAPTURE_THREAD_LOCAL = 1, VGPU_CAPTURE_RELAXED = 2 };

struct vgpu_capture {
    struct vgpu_object object; /* its handle is the capture's id */
    CUgraph graph;
    int is_own; /* the graph began with the capture */
    int is_spoiled;
    int mode; /* enum vgpu_capture_mode */
    uint64_t thread;
    struct vgpu_stream *origin;
};

/* The stream's next work: a node after what the stream has done. */
CUresult vgpu_capture_node(struct vgpu_process *process, struct vgpu_stream *stream, const CUgraphNodeParams *params);

/* cuEventRecord in a stream that is being captured: the event stands for what the stream has done so far. */
CUresult vgpu_capture_record(struct vgpu_process *process, struct vgpu_stream *stream, struct vgpu_cuda_event *event,
                             int external);

/* cuStreamWaitEvent in any stream: one that waits for captured work is captured from then on. */
CUresult vgpu_capture_wait(struct vgpu_process *process, struct vgpu_stream *stream, struct vgpu_cuda_event *event,
                           int external);

/* What a stream that is being captured answers to what cannot be captured, and it spoils the capture; CUDA_SUCCESS for
 * any other stream. */
CUresult vgpu_capture_refuse(struct vgpu_process *process, struct vgpu_stream *stream);

/* The same, and the capture goes on. */
CUresult vgpu_capture_decline(const struct vgpu_stream *stream);

/* capture_rules.c */
int vgpu_capture_is_mode(int mode);

/* Of a stream 0 that would wait for captured work: 906, and the captures go on. */
CUresult vgpu_capture_check_implicit(struct vgpu_process *process, const struct vgpu_stream *stream);

/* Work in the stream 0 of a context, for which it would wait for captured work, and which so spoils the captures: 906
 * (doc, cuStreamIsCapturing; ROCm/rocm-systems, pull request 4508, measured on NVIDIA's). */
CUresult vgpu_capture_implicit(struct vgpu_process *process, CUcontext context);

/* A wait for all of a context, which spoils all captures in it: 900 (measured there, too). */
CUresult vgpu_capture_refuse_all(struct vgpu_process *process, CUcontext context);

/* What captures do not see, and their mode forbids (doc, cuThreadExchangeStreamCaptureMode): 900, and they are spoiled.
 */
CUresult vgpu_capture_unsafe(struct vgpu_process *process);

/* Spoils the capture, if it goes on, and answers `result`. */
CUresult vgpu_capture_spoil(struct vgpu_process *process, uint64_t capture, CUresult result);

/* The stream ends, and with it its part in a capture; if the capture began in it, all of that. */
void vgpu_capture_abandon(struct vgpu_process *process, struct vgpu_stream *stream);

#endif
