/* Streams that are being captured: what would be their work becomes nodes of a graph. */
#ifndef VGPU_CUDA_CAPTURE_H
#define VGPU_CUDA_CAPTURE_H

#include "cuda/event.h"
#include "cuda/stream.h"
#include "cuda/structs_graph.h"

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

/* Spoils the capture, if it goes on, and answers `result`. */
CUresult vgpu_capture_spoil(struct vgpu_process *process, uint64_t capture, CUresult result);

/* The stream ends, and with it its part in a capture; if the capture began in it, all of that. */
void vgpu_capture_abandon(struct vgpu_process *process, struct vgpu_stream *stream);

#endif
