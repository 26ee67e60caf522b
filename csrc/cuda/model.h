/* The state of the CUDA driver in one process, and the functions that the models share. */
#ifndef VGPU_CUDA_MODEL_H
#define VGPU_CUDA_MODEL_H

#include "cuda/api.h"
#include "cuda/memory.h"
#include "cuda/names.h"
#include "vgpu/call.h"

enum { VGPU_STACK_BUCKETS = 64 };

struct vgpu_context;
struct vgpu_stack;
struct vgpu_objects; /* objects.c */
struct vgpu_stream;  /* stream.c */

struct vgpu_peer;     /* peer.c */
struct vgpu_coredump; /* coredump.c */

enum { VGPU_LIMITS = 11 }; /* of CUlimit, cuda.h 13.5 */

/* What each context has to itself. */
struct vgpu_settings {
    uint64_t id; /* never given twice */
    uint32_t api_version;
    uint32_t flags;
    int32_t cache_config;
    uint32_t uses; /* cuCtxCreate is one, cuCtxAttach another */
    uint64_t limits[VGPU_LIMITS];
};

/* The primary context of a device has one handle for ever. */
struct vgpu_primary {
    uint32_t references;
    uint32_t active;    /* 0 after a reset although references are left */
    uint32_t was_given; /* its handle has been given out */
    struct vgpu_settings settings;
};

struct vgpu_device {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_device *mig; /* NULL: the whole GPU */
    uint64_t allocated;                /* bytes that this process holds */
    struct vgpu_primary primary;
};

/* Of one device. */
struct vgpu_graph_memory {
    uint64_t live; /* bytes that are allocated and not freed */
    uint64_t used_high;
    uint64_t reserved;
    uint64_t reserved_high;
};

struct vgpu_cuda {
    struct vgpu_model model; /* first: vgpu/call.c marks it */
    uint32_t initialised;
    uint32_t init_failed; /* cuInit was tried, and failed */
    uint32_t devices;     /* those that CUDA_VISIBLE_DEVICES leaves; a CUdevice counts among them */
    struct vgpu_device device[VGPU_GPUS_MAX];
    struct vgpu_stack *stacks[VGPU_STACK_BUCKETS];
    struct vgpu_context *contexts;
    uint64_t contexts_given;
    uint64_t context_ids;
    uint64_t greens_given;                                /* green.c */
    uint64_t splits_made;                                 /* green.c */
    struct vgpu_peer *peers;                              /* peer.c */
    struct vgpu_coredump *coredumps;                      /* coredump.c */
    struct vgpu_memory memory;                            /* memory.h */
    struct vgpu_objects *objects;                         /* objects.c */
    struct vgpu_stream *default_streams;                  /* stream.c */
    uint32_t captures;                                    /* capture.c: that go on */
    uint32_t graphs_given;                                /* graph.c */
    struct vgpu_graph_memory graph_memory[VGPU_GPUS_MAX]; /* graph_memory.c, as the next two */
    struct vgpu_block *graph_blocks;
    uint64_t graph_launches;
};

#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    CUresult vgpu_##name(struct vgpu_process *process, struct vgpu_call *call VGPU_AND parameters);
#define VGPU_CUDA_UNMODELLED(name, when, base, since, parameters, arguments, inputs)
#define VGPU_CUDA_TWIN(name, suffix, when, base, since, parameters, arguments, inputs)
#include "cuda/cuda.def"

/* state.c */
int vgpu_cuda_make(struct vgpu_process *process); /* 1, or 0: no memory */

/* calls.c: CUDA_SUCCESS, or what a function answers that needs an initialised driver. A model whose entry is CHECKED
 * asks when it has looked at those arguments that NVIDIA's library looks at before it asks the same. */
CUresult vgpu_cuda_ready(struct vgpu_process *process);

/* init.c */
CUresult vgpu_cuda_initialise(struct vgpu_process *process);
void vgpu_cuda_init_failed(struct vgpu_process *process); /* under the lock: some codes tell that it was tried */

void vgpu_cuda_end_at_exit(struct vgpu_process *process); /* calls after that of a program's exit answer 4 */
int vgpu_cuda_has_ended(const struct vgpu_process *process);

/* visible.c: fills `devices` as the two variables say, NULL where one is not set; answers how many there are. */
uint32_t vgpu_cuda_visible(const struct vgpu_image *image, const char *list, const char *order,
                           struct vgpu_device devices[VGPU_GPUS_MAX]);

/* device.c */
struct vgpu_device *vgpu_cuda_device(struct vgpu_process *process, CUdevice dev); /* NULL: there is none */
int32_t vgpu_cuda_attribute(struct vgpu_process *process, const struct vgpu_gpu *gpu, CUdevice_attribute attribute);
int32_t vgpu_cuda_device_attribute(struct vgpu_process *process, CUdevice dev, CUdevice_attribute attribute);
uint64_t vgpu_cuda_total(const struct vgpu_device *device);
uint64_t vgpu_cuda_free(const struct vgpu_device *device);
void vgpu_cuda_say_pci(struct vgpu_call *call, const struct vgpu_device *device);

/* stack.c: the calling thread's context stack. */
CUcontext vgpu_stack_top(struct vgpu_cuda *cuda);               /* NULL: empty */
int vgpu_stack_push(struct vgpu_cuda *cuda, CUcontext context); /* 1, or 0: no memory */
void vgpu_stack_pop(struct vgpu_cuda *cuda);                    /* must not be empty */
void vgpu_stacks_free(struct vgpu_cuda *cuda);
uint64_t vgpu_thread_number(void); /* of the calling thread; no other gets it again */

/* context.c */
CUresult vgpu_context_check(struct vgpu_process *process, CUcontext context, CUdevice *device);
CUresult vgpu_context_current(struct vgpu_process *process, CUcontext *context, CUdevice *device);
/* The context's settings, or the reason why there are none; `context` NULL: the current one. */
CUresult vgpu_context_settings(struct vgpu_process *process, CUcontext context, struct vgpu_settings **settings,
                               CUdevice *device);
/* Of a context that begins: those of the process's defaults. */
void vgpu_settings_begin(struct vgpu_process *process, struct vgpu_settings *settings);
CUresult vgpu_context_flags(unsigned int flags);                        /* whether they are flags of a context */
void vgpu_context_end(struct vgpu_process *process, CUcontext context); /* ends all that is in it */
CUresult vgpu_context_destroy(struct vgpu_process *process, CUcontext context);
void vgpu_contexts_free(struct vgpu_cuda *cuda);

/* primary.c */
CUcontext vgpu_primary_handle(CUdevice dev);
CUdevice vgpu_primary_device(struct vgpu_cuda *cuda, CUcontext context); /* -1: it is no primary context */
CUcontext vgpu_primary_retain(struct vgpu_process *process, CUdevice dev);
CUresult vgpu_primary_release(struct vgpu_process *process, CUdevice dev);

/* green.c: the green context that cuCtxFromGreenCtx has given `context` for: its settings and device, or the reason why
 * there are none. */
CUresult vgpu_green_settings(struct vgpu_process *process, CUcontext context, struct vgpu_settings **settings,
                             CUdevice *device);
CUgreenCtx vgpu_green_of(struct vgpu_process *process, CUcontext context); /* NULL: it is of none */
/* CUDA_SUCCESS and what it stands for, or INVALID_CONTEXT. */
CUresult vgpu_green_check(struct vgpu_process *process, CUgreenCtx green, CUcontext *context, CUdevice *device);

/* peer.c */
int vgpu_peer_possible(struct vgpu_process *process, CUdevice from, CUdevice to);
void vgpu_peers_drop(struct vgpu_cuda *cuda, CUcontext context); /* all that it is part of; NULL: all */

/* coredump.c */
void vgpu_coredumps_drop(struct vgpu_cuda *cuda, CUcontext context); /* what is set for it; NULL: for all */

/* userobject.c: 1, or 0: the object is not there, or has fewer references. */
int vgpu_user_object_retain(struct vgpu_process *process, CUuserObject object, unsigned int count);
int vgpu_user_object_release(struct vgpu_process *process, struct vgpu_call *call, CUuserObject object,
                             unsigned int count);

/* region.c; what else there is about memory is in memory.h */
void vgpu_memory_drop(struct vgpu_process *process, CUcontext owner); /* all that the context has allocated */
void vgpu_memory_free_all(struct vgpu_cuda *cuda);

/* vmm.c */
void vgpu_vmm_free_all(struct vgpu_cuda *cuda);

/* objects.c: ends all streams, events, modules, ... of a context that is destroyed or reset. */
void vgpu_objects_drop(struct vgpu_process *process, CUcontext context);
void vgpu_objects_free_all(struct vgpu_process *process); /* before the rest of the state, which their ends look at */

/* stream.c: CUDA_SUCCESS, or why no work can be put into the stream: 3, 400, 201. One that is being captured refuses
 * work that no capture knows (900). */
CUresult vgpu_stream_check(struct vgpu_process *process, struct vgpu_call *call, CUstream stream);

/* stream.c: CUDA_SUCCESS once cuInit has been tried, be it in vain: where NVIDIA's library looks at arguments only
 * then. */
CUresult vgpu_cuda_tried(struct vgpu_process *process);

#endif
