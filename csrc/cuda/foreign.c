/* What other drivers share with CUDA: EGL streams, external memory and semaphores. None of those drivers is here, so
 * nothing can be shared, and each handle is one that was never given out. */
#include "cuda/model.h"

/* CUexternalMemoryHandleType and CUexternalSemaphoreHandleType both start at 1. */
enum { MEMORY_TYPES = 9, SEMAPHORE_TYPES = 10, EGL_LOCATIONS = 2 };

static CUresult unsupported(struct vgpu_process *process, struct vgpu_call *call) {
    CUresult refusal = vgpu_cuda_ready(process);
    if (refusal == CUDA_SUCCESS) {
        call->event.flags |= VGPU_RECORD_UNMODELLED;
    }
    return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_NOT_SUPPORTED;
}

/* The stream is looked at before all else, the room for the connection is not (measured on 535.261.03). */
static CUresult connect(struct vgpu_process *process, struct vgpu_call *call, const CUeglStreamConnection *conn,
                        EGLStreamKHR stream) {
    if (stream == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    return conn == NULL ? CUDA_ERROR_INVALID_VALUE : unsupported(process, call);
}

CUresult vgpu_cuEGLStreamConsumerConnect(struct vgpu_process *process, struct vgpu_call *call,
                                         CUeglStreamConnection *conn, EGLStreamKHR stream) {
    return connect(process, call, conn, stream);
}

CUresult vgpu_cuEGLStreamConsumerConnectWithFlags(struct vgpu_process *process, struct vgpu_call *call,
                                                  CUeglStreamConnection *conn, EGLStreamKHR stream,
                                                  unsigned int flags) {
    return stream != NULL && flags >= EGL_LOCATIONS ? CUDA_ERROR_INVALID_VALUE : connect(process, call, conn, stream);
}

CUresult vgpu_cuEGLStreamProducerConnect(struct vgpu_process *process, struct vgpu_call *call,
                                         CUeglStreamConnection *conn, EGLStreamKHR stream, EGLint width,
                                         EGLint height) {
    (void)width;
    (void)height;
    return connect(process, call, conn, stream);
}

CUresult vgpu_cuEGLStreamConsumerDisconnect(struct vgpu_process *process, struct vgpu_call *call,
                                            CUeglStreamConnection *conn) {
    (void)process;
    (void)call;
    (void)conn;
    return CUDA_ERROR_INVALID_HANDLE;
}

CUresult vgpu_cuEGLStreamConsumerAcquireFrame(struct vgpu_process *process, struct vgpu_call *call,
                                              CUeglStreamConnection *conn, CUgraphicsResource *pCudaResource,
                                              CUstream *pStream, unsigned int timeout) {
    (void)pCudaResource;
    (void)pStream;
    (void)timeout;
    return vgpu_cuEGLStreamConsumerDisconnect(process, call, conn);
}

CUresult vgpu_cuEGLStreamConsumerReleaseFrame(struct vgpu_process *process, struct vgpu_call *call,
                                              CUeglStreamConnection *conn, CUgraphicsResource pCudaResource,
                                              CUstream *pStream) {
    (void)pCudaResource;
    (void)pStream;
    return vgpu_cuEGLStreamConsumerDisconnect(process, call, conn);
}

CUresult vgpu_cuEGLStreamProducerDisconnect(struct vgpu_process *process, struct vgpu_call *call,
                                            CUeglStreamConnection *conn) {
    return vgpu_cuEGLStreamConsumerDisconnect(process, call, conn);
}

CUresult vgpu_cuEGLStreamProducerPresentFrame(struct vgpu_process *process, struct vgpu_call *call,
                                              CUeglStreamConnection *conn, CUeglFrame eglframe, CUstream *pStream) {
    (void)eglframe;
    (void)pStream;
    return vgpu_cuEGLStreamConsumerDisconnect(process, call, conn);
}

CUresult vgpu_cuEGLStreamProducerReturnFrame(struct vgpu_process *process, struct vgpu_call *call,
                                             CUeglStreamConnection *conn, CUeglFrame *eglframe, CUstream *pStream) {
    (void)eglframe;
    (void)pStream;
    return vgpu_cuEGLStreamConsumerDisconnect(process, call, conn);
}

/* Each description starts with its type. */
static CUresult import(struct vgpu_process *process, struct vgpu_call *call, const void *out, const void *description,
                       int types) {
    if (out == NULL || description == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    int type = *(const int *)description;
    return type < 1 || type > types ? CUDA_ERROR_INVALID_VALUE : unsupported(process, call);
}

CUresult vgpu_cuImportExternalMemory(struct vgpu_process *process, struct vgpu_call *call, CUexternalMemory *extMem_out,
                                     const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *memHandleDesc) {
    return import(process, call, extMem_out, memHandleDesc, MEMORY_TYPES);
}

CUresult vgpu_cuImportExternalSemaphore(struct vgpu_process *process, struct vgpu_call *call,
                                        CUexternalSemaphore *extSem_out,
                                        const CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC *semHandleDesc) {
    return import(process, call, extSem_out, semHandleDesc, SEMAPHORE_TYPES);
}

CUresult vgpu_cuDestroyExternalMemory(struct vgpu_process *process, struct vgpu_call *call, CUexternalMemory extMem) {
    (void)process;
    (void)call;
    (void)extMem;
    return CUDA_ERROR_INVALID_HANDLE;
}

CUresult vgpu_cuDestroyExternalSemaphore(struct vgpu_process *process, struct vgpu_call *call,
                                         CUexternalSemaphore extSem) {
    (void)process;
    (void)call;
    (void)extSem;
    return CUDA_ERROR_INVALID_HANDLE;
}

CUresult vgpu_cuExternalMemoryGetMappedBuffer(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *devPtr,
                                              CUexternalMemory extMem,
                                              const CUDA_EXTERNAL_MEMORY_BUFFER_DESC *bufferDesc) {
    (void)process;
    (void)call;
    (void)extMem;
    return devPtr == NULL || bufferDesc == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
}

CUresult vgpu_cuExternalMemoryGetMappedMipmappedArray(struct vgpu_process *process, struct vgpu_call *call,
                                                      CUmipmappedArray *mipmap, CUexternalMemory extMem,
                                                      const CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC *mipmapDesc) {
    (void)process;
    (void)call;
    (void)extMem;
    return mipmap == NULL || mipmapDesc == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
}

/* The stream is looked at first (measured on 535.261.03). */
static CUresult with_semaphores(struct vgpu_process *process, struct vgpu_call *call,
                                const CUexternalSemaphore *semaphores, const void *parameters, unsigned int count,
                                CUstream stream) {
    CUresult refusal = vgpu_stream_check(process, call, stream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    int there = semaphores != NULL && parameters != NULL && count > 0;
    return there ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuSignalExternalSemaphoresAsync(struct vgpu_process *process, struct vgpu_call *call,
                                              const CUexternalSemaphore *extSemArray,
                                              const CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *paramsArray,
                                              unsigned int numExtSems, CUstream stream) {
    return with_semaphores(process, call, extSemArray, paramsArray, numExtSems, stream);
}

CUresult vgpu_cuWaitExternalSemaphoresAsync(struct vgpu_process *process, struct vgpu_call *call,
                                            const CUexternalSemaphore *extSemArray,
                                            const CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS *paramsArray,
                                            unsigned int numExtSems, CUstream stream) {
    return with_semaphores(process, call, extSemArray, paramsArray, numExtSems, stream);
}
