/* Streams, events and graphs: their handles are the driver's. */
#include "cudart.h"

#define FORWARD(code, function, ...) cudart_end((code) == cudaSuccess ? CUDART_DRIVER(function, __VA_ARGS__) : (code))

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *pStream, unsigned int flags) {
    cudaError_t code = cudart_enter_with(pStream);
    return FORWARD(code, cuStreamCreate, pStream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    cudaError_t code = cudart_enter();
    return FORWARD(code, cuStreamDestroy_v2, stream);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    cudaError_t code = cudart_enter();
    return FORWARD(code, cuStreamSynchronize, stream);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
    cudaError_t code = cudart_enter();
    return FORWARD(code, cuStreamWaitEvent, stream, event, flags);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    cudaError_t code = cudart_enter();
    return FORWARD(code, cuStreamBeginCapture_v2, stream, mode);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *pGraph) {
    cudaError_t code = cudart_enter_with(pGraph);
    return FORWARD(code, cuStreamEndCapture, stream, pGraph);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *pCaptureStatus) {
    cudaError_t code = cudart_enter_with(pCaptureStatus);
    return FORWARD(code, cuStreamIsCapturing, stream, pCaptureStatus);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags) {
    cudaError_t code = cudart_enter_with(event);
    return FORWARD(code, cuEventCreate, event, flags);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    cudaError_t code = cudart_enter();
    return FORWARD(code, cuEventDestroy_v2, event);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    cudaError_t code = cudart_enter();
    return FORWARD(code, cuEventRecord, event, stream);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    cudaError_t code = cudart_enter();
    return FORWARD(code, cuEventSynchronize, event);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *pGraphExec, cudaGraph_t graph, unsigned long long flags) {
    cudaError_t code = cudart_enter_with(pGraphExec);
    return FORWARD(code, cuGraphInstantiateWithFlags, pGraphExec, graph, flags);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graphExec, cudaStream_t stream) {
    cudaError_t code = cudart_enter();
    return FORWARD(code, cuGraphLaunch, graphExec, stream);
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t hGraphExec, cudaGraph_t hGraph,
                                cudaGraphExecUpdateResultInfo *resultInfo) {
    cudaError_t code = cudart_enter_with(resultInfo);
    return FORWARD(code, cuGraphExecUpdate_v2, hGraphExec, hGraph, resultInfo);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graphExec) {
    cudaError_t code = cudart_enter();
    return FORWARD(code, cuGraphExecDestroy, graphExec);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    cudaError_t code = cudart_enter();
    return FORWARD(code, cuGraphDestroy, graph);
}
