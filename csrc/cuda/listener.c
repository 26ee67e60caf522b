/* Callbacks that a program registers for what never happens here: device events, log messages, core dumps. */
#include <stdlib.h>

#include "cuda/objects.h"

enum listener_of {
    LISTENS_TO_DEVICE,
    LISTENS_TO_LOGS,
    LISTENS_TO_DUMP_START,
    LISTENS_TO_DUMP_COMPLETE,
};

struct listener {
    struct vgpu_object object;
    enum listener_of of;
    CUdevice device;
};

/* `handle` may be NULL: what is registered then stays so. */
static CUresult add(struct vgpu_process *process, enum listener_of of, CUdevice device, void **handle) {
    struct listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    listener->object.kind = VGPU_OBJECT_LISTENER;
    listener->object.end = vgpu_object_free;
    listener->of = of;
    listener->device = device;
    if (!vgpu_object_add(process, &listener->object)) {
        free(listener);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *handle = vgpu_object_handle(&listener->object);
    return CUDA_SUCCESS;
}

static CUresult drop(struct vgpu_process *process, enum listener_of of, CUdevice device, const void *handle) {
    struct listener *listener = vgpu_object_find(process, VGPU_OBJECT_LISTENER, handle);
    if (listener == NULL || listener->of != of || listener->device != device) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    vgpu_object_drop(process, &listener->object);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDeviceRegisterAsyncNotification(struct vgpu_process *process, struct vgpu_call *call, CUdevice device,
                                                CUasyncCallback callbackFunc, void *userData,
                                                CUasyncCallbackHandle *callback) {
    (void)userData;
    if (callbackFunc == NULL || callback == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *found = vgpu_cuda_device(process, device);
    if (found == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    void *handle;
    CUresult result = add(process, LISTENS_TO_DEVICE, device, &handle);
    if (result == CUDA_SUCCESS) {
        *callback = handle;
        vgpu_cuda_say_pci(call, found);
    }
    return result;
}

CUresult vgpu_cuDeviceUnregisterAsyncNotification(struct vgpu_process *process, struct vgpu_call *call, CUdevice device,
                                                  CUasyncCallbackHandle callback) {
    (void)call;
    if (vgpu_cuda_device(process, device) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    return drop(process, LISTENS_TO_DEVICE, device, callback);
}

CUresult vgpu_cuLogsRegisterCallback(struct vgpu_process *process, struct vgpu_call *call, CUlogsCallback callbackFunc,
                                     void *userData, CUlogsCallbackHandle *callback_out) {
    (void)call;
    (void)userData;
    if (callbackFunc == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    void *handle;
    CUresult result = add(process, LISTENS_TO_LOGS, 0, &handle);
    if (result == CUDA_SUCCESS && callback_out != NULL) {
        *callback_out = handle;
    }
    return result;
}

CUresult vgpu_cuLogsUnregisterCallback(struct vgpu_process *process, struct vgpu_call *call,
                                       CUlogsCallbackHandle callback) {
    (void)call;
    return drop(process, LISTENS_TO_LOGS, 0, callback);
}

static CUresult add_dump(struct vgpu_process *process, enum listener_of of, CUcoredumpStatusCallback callback,
                         CUcoredumpCallbackHandle *callbackOut) {
    if (callback == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    void *handle;
    CUresult result = add(process, of, 0, &handle);
    if (result == CUDA_SUCCESS && callbackOut != NULL) {
        *callbackOut = handle;
    }
    return result;
}

CUresult vgpu_cuCoredumpRegisterStartCallback(struct vgpu_process *process, struct vgpu_call *call,
                                              CUcoredumpStatusCallback callback, void *userData,
                                              CUcoredumpCallbackHandle *callbackOut) {
    (void)call;
    (void)userData;
    return add_dump(process, LISTENS_TO_DUMP_START, callback, callbackOut);
}

CUresult vgpu_cuCoredumpRegisterCompleteCallback(struct vgpu_process *process, struct vgpu_call *call,
                                                 CUcoredumpStatusCallback callback, void *userData,
                                                 CUcoredumpCallbackHandle *callbackOut) {
    (void)call;
    (void)userData;
    return add_dump(process, LISTENS_TO_DUMP_COMPLETE, callback, callbackOut);
}

CUresult vgpu_cuCoredumpDeregisterStartCallback(struct vgpu_process *process, struct vgpu_call *call,
                                                CUcoredumpCallbackHandle callback) {
    (void)call;
    return drop(process, LISTENS_TO_DUMP_START, 0, callback);
}

CUresult vgpu_cuCoredumpDeregisterCompleteCallback(struct vgpu_process *process, struct vgpu_call *call,
                                                   CUcoredumpCallbackHandle callback) {
    (void)call;
    return drop(process, LISTENS_TO_DUMP_COMPLETE, 0, callback);
}
