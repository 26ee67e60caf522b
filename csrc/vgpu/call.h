/* One call of a driver function: what goes before and after the model, the same for CUDA and NVML.
 *
 *   vgpu_call_begin  gate, fault (and its delay), lock, fork check
 *   the model        answers, and says what the trace should show
 *   vgpu_call_end    the fault's value or text, unlock, one CALL record, errno as it was
 *
 * A model runs under the process's lock, so its own state needs none. It looks its GPUs up (vgpu_gpu_lost) before it
 * writes an output or changes its state: a fault for one GPU is found by that look-up, which then refuses. */
#ifndef VGPU_CALL_H
#define VGPU_CALL_H

#include <stddef.h>

#include "vgpu/process.h"

#define VGPU_EXPORT __attribute__((visibility("default")))

/* The lists of entry points give parameters and arguments in parentheses; these put them to use. */
#define VGPU_AND(...) , ##__VA_ARGS__
#define VGPU_BARE(...) __VA_ARGS__
#define VGPU_FIRST(first, ...) first
#define VGPU_PARAMETERS(...) VGPU_FIRST(__VA_OPT__((__VA_ARGS__), )(void), )

/* The address that a call of the function this stands in returns to. */
#define VGPU_CALLER ((uint64_t)(uintptr_t)__builtin_return_address(0))

/* When a function can be called. */
enum vgpu_when {
    VGPU_WHEN_ALWAYS = 0, /* asks nothing of the process: error texts serve those who have been refused, too */
    VGPU_WHEN_READY = 1,  /* needs the gate's yes, not an initialised driver */
    VGPU_WHEN_INIT = 2,   /* the same; it is an initialisation, and may take long */
    VGPU_WHEN_INITIALISED = 3,
    VGPU_WHEN_CHECKED = 4, /* as READY; the model looks at some arguments, then asks itself whether it is initialised */
};

enum { VGPU_CALL_TEXT_SIZE = 64 };

/* The head of struct vgpu_cuda and struct vgpu_nvml. */
struct vgpu_model {
    uint32_t forked; /* this is a forked child, and the state is the parent's */
};

struct vgpu_call {
    struct vgpu_process *process;
    enum vgpu_ready ready;
    const struct vgpu_fault *fault;
    struct vgpu_event event; /* the CALL record; the model sets `result` and, if it has any, `text` */
    void *outputs[VGPU_RECORD_OUTPUTS];
    size_t output_sizes[VGPU_RECORD_OUTPUTS];
    uint32_t first_output; /* which of `outputs` comes first in the function's signature */
    char *buffer;          /* the caller's, where the model has written a text; NULL: none */
    size_t buffer_size;
    int per_thread;           /* the entry is a _ptsz or _ptds form: the stream 0 is the calling thread's own */
    void (*then)(void *data); /* called when all is done and the lock is free: for callbacks of the program */
    void *then_data;
    int locked;
    int late;                /* `fault` is one for a GPU: the look-up has found it */
    uint32_t asked;          /* bit N: GPU N has been looked up, and its faults with it */
    uint32_t refused;        /* bit N: look-ups of GPU N fail, as the fault's answer is not the model's */
    struct vgpu_call *outer; /* the call whose callback to the program has made this one */
    int saved_errno;
    char text[VGPU_CALL_TEXT_SIZE]; /* room for a text that is put together for the record */
};

/* Fills `call` in. Answers 1 if the model is to be asked, 0 if a fault has given the result. */
int vgpu_call_begin(struct vgpu_call *call, struct vgpu_process *process, const struct vgpu_event *event,
                    enum vgpu_when when);

/* The call of this process that this thread is in; NULL: none, as where the process's state ends. */
struct vgpu_call *vgpu_call_current(const struct vgpu_process *process);

/* Answers the result. */
int32_t vgpu_call_end(struct vgpu_call *call);

/* The model has written a number of 1, 4 or 8 bytes to `at`: it goes into the record, and a value fault goes there. */
void vgpu_call_output(struct vgpu_call *call, void *at, size_t size);

/* The model has written a text to the caller's `buffer` of `size` bytes: it is the record's text, and a text fault goes
 * there. */
void vgpu_call_text(struct vgpu_call *call, char *buffer, size_t size);

#endif
