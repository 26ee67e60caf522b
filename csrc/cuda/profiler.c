/* Steering a profiler and a debugger, neither of which is there. */
#include "cuda/model.h"

/* Gone since CUDA 11: NVIDIA's library answers this at any time (measured on 535.261.03). */
CUresult vgpu_cuProfilerInitialize(struct vgpu_process *process, struct vgpu_call *call, const char *configFile,
                                   const char *outputFile, CUoutput_mode outputMode) {
    (void)process;
    (void)call;
    (void)configFile;
    (void)outputFile;
    (void)outputMode;
    return CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult in_context(struct vgpu_process *process) {
    CUcontext context;
    CUdevice dev;
    return vgpu_context_current(process, &context, &dev);
}

CUresult vgpu_cuProfilerStart(struct vgpu_process *process, struct vgpu_call *call) {
    (void)call;
    return in_context(process);
}

CUresult vgpu_cuProfilerStop(struct vgpu_process *process, struct vgpu_call *call) {
    (void)call;
    return in_context(process);
}

/* What follows is the debugger's own interface, as NVIDIA's library answers it without one (measured on 535.261.03).
 * The codes are CUDBGResult of cudadebugger.h. */
enum {
    DEBUGGER_SUCCESS = 0,
    DEBUGGER_UNKNOWN = 1,
    DEBUGGER_INVALID_ARGS = 4,
    DEBUGGER_INTERNAL = 10,
};

static CUresult debugger(int code) {
    return (CUresult)code;
}

CUresult vgpu_cudbgApiInit(struct vgpu_process *process, struct vgpu_call *call, unsigned int clientMajor) {
    (void)process;
    (void)call;
    (void)clientMajor;
    return debugger(DEBUGGER_UNKNOWN);
}

CUresult vgpu_cudbgApiAttach(struct vgpu_process *process, struct vgpu_call *call) {
    (void)process;
    (void)call;
    return debugger(DEBUGGER_SUCCESS);
}

CUresult vgpu_cudbgApiDetach(struct vgpu_process *process, struct vgpu_call *call) {
    (void)process;
    (void)call;
    return debugger(DEBUGGER_SUCCESS);
}

CUresult vgpu_cudbgReportDriverApiError(struct vgpu_process *process, struct vgpu_call *call) {
    (void)process;
    (void)call;
    return debugger(DEBUGGER_UNKNOWN);
}

CUresult vgpu_cudbgReportDriverInternalError(struct vgpu_process *process, struct vgpu_call *call) {
    (void)process;
    (void)call;
    return debugger(DEBUGGER_UNKNOWN);
}

CUresult vgpu_cudbgGetAPI(struct vgpu_process *process, struct vgpu_call *call, unsigned int major, unsigned int minor,
                          unsigned int rev, const void **api) {
    (void)process;
    (void)call;
    (void)major;
    (void)minor;
    (void)rev;
    return debugger(api == NULL ? DEBUGGER_INVALID_ARGS : DEBUGGER_INTERNAL);
}

/* That of the driver's CUDA. */
CUresult vgpu_cudbgGetAPIVersion(struct vgpu_process *process, struct vgpu_call *call, unsigned int *major,
                                 unsigned int *minor, unsigned int *rev) {
    if (major == NULL || minor == NULL || rev == NULL) {
        return debugger(DEBUGGER_INVALID_ARGS);
    }
    int version = process->image != NULL ? process->image->driver.cuda_version : VGPU_CUDA_OWN_VERSION;
    *major = (unsigned int)version / 1000;
    *minor = (unsigned int)version % 1000 / 10;
    *rev = 0;
    vgpu_call_output(call, major, sizeof(*major));
    vgpu_call_output(call, minor, sizeof(*minor));
    return debugger(DEBUGGER_SUCCESS);
}
