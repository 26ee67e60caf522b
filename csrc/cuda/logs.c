/* The driver's log, and the state of processes that are to be frozen. This driver logs nothing: its log is empty. */
#include <fcntl.h>
#include <unistd.h>

#include "cuda/model.h"

enum {
    TAIL = 0, /* where the next message would go */
    FILE_MODE = 0666,
    STATE_RUNNING = 0,
};

CUresult vgpu_cuLogsCurrent(struct vgpu_process *process, struct vgpu_call *call, CUlogIterator *iterator_out,
                            unsigned int flags) {
    (void)process;
    if (iterator_out == NULL || flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *iterator_out = TAIL;
    vgpu_call_output(call, iterator_out, sizeof(*iterator_out));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuLogsDumpToFile(struct vgpu_process *process, struct vgpu_call *call, CUlogIterator *iterator,
                               const char *pathToFile, unsigned int flags) {
    (void)process;
    if (pathToFile == NULL || flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    /* O_NONBLOCK: a FIFO would wait for a reader */
    int file = open(pathToFile, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, FILE_MODE);
    if (file < 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    close(file);
    call->event.text = pathToFile;
    if (iterator != NULL) {
        *iterator = TAIL;
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuLogsDumpToMemory(struct vgpu_process *process, struct vgpu_call *call, CUlogIterator *iterator,
                                 char *buffer, size_t *size, unsigned int flags) {
    (void)process;
    if (buffer == NULL || size == NULL || flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (*size > 0) {
        buffer[0] = '\0';
    }
    *size = 0;
    if (iterator != NULL) {
        *iterator = TAIL;
    }
    vgpu_call_output(call, size, sizeof(*size));
    return CUDA_SUCCESS;
}

/* Of another process nothing is known here, and this one is never frozen. */
CUresult vgpu_cuCheckpointProcessGetState(struct vgpu_process *process, struct vgpu_call *call, int pid,
                                          CUprocessState *state) {
    (void)process;
    if (state == NULL || pid != (int)getpid()) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *state = STATE_RUNNING;
    vgpu_call_output(call, state, sizeof(*state));
    return CUDA_SUCCESS;
}
