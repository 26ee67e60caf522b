/* CUDA_CHECK, CU_CHECK and CUBLAS_CHECK of ggml-cuda: what failed, where, and the end of the process. */
#include "llama/cuda.h"

static void fail(const char *text, const char *statement, const char *function, int line) {
    int device = -1;
    (void)cudaGetDevice(&device);
    ggml_log_internal(GGML_LOG_LEVEL_ERROR, "CUDA error: %s\n", text);
    ggml_log_internal(GGML_LOG_LEVEL_ERROR, "  current device: %d, in function %s at ggml-cuda.cu:%d\n", device,
                      function, line);
    ggml_log_internal(GGML_LOG_LEVEL_ERROR, "  %s\n", statement);
    ggml_abort("ggml-cuda.cu", line, "CUDA error");
}

void cuda_check(cudaError_t code, const char *statement, const char *function, int line) {
    if (code != cudaSuccess) {
        fail(cudaGetErrorString(code), statement, function, line);
    }
}

void cuda_driver_check(cu_result code, const char *statement, const char *function, int line) {
    const char *text = NULL;
    if (code == CU_SUCCESS) {
        return;
    }
    if (cuGetErrorString(code, &text) != CU_SUCCESS || text == NULL) {
        text = "unknown error";
    }
    fail(text, statement, function, line);
}

void cuda_blas_check(cublasStatus_t code, const char *statement, const char *function, int line) {
    if (code != CUBLAS_STATUS_SUCCESS) {
        fail(cublasGetStatusString(code), statement, function, line);
    }
}
