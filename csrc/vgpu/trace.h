/* The writer of the trace: lock-free, async-signal-safe, without a libc symbol. The file was made and filled with zeros
 * by the harness; it is mapped and never grown here. */
#ifndef VGPU_TRACE_H
#define VGPU_TRACE_H

#include "vgpu/wire.h"

struct vgpu_trace {
    struct vgpu_trace_header *header; /* NULL: no trace, writing does nothing */
    uint64_t mapped_size;
};

/* Answers 0, or -1 if the file is missing, not a trace, of a version that is not ours, or not writable; then
 * nothing is ever written. */
int vgpu_trace_open(struct vgpu_trace *trace, const char *path);
void vgpu_trace_close(struct vgpu_trace *trace);

/* What a writer says of one event. The rest (time, pid, tid, parent) is asked of the kernel. */
struct vgpu_event {
    uint16_t kind;
    uint8_t library;
    uint8_t flags;
    uint8_t inputs;
    uint8_t outputs;
    int32_t result;
    uint64_t caller;
    uint64_t in[VGPU_RECORD_INPUTS];
    uint64_t out[VGPU_RECORD_OUTPUTS];
    const char *name; /* entry point; NULL is "" */
    const char *text; /* NULL is "" */
};

void vgpu_trace_write(struct vgpu_trace *trace, const struct vgpu_event *event);

#endif
