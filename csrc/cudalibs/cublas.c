/* Stand-in for cuBLAS: handles keep their state, arguments are checked as documented, and what would have to run on a
 * GPU answers CUBLAS_STATUS_NOT_SUPPORTED. The driver is never asked. */
#include "cublas.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    MATH_MODE_LAST = 4,             /* CUBLAS_FP32_EMULATED_BF16X9_MATH */
    MATH_NO_REDUCED_PRECISION = 16, /* CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION, a bit beside the mode */
    WORKSPACE_ALIGNMENT = 256,
};

struct cublasContext {
    struct CUstream_st *stream;
    cublasMath_t math;
    void *workspace; /* NULL: the library's own */
    size_t workspace_size;
    struct cublasContext *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cublasContext *handles;

/* A handle is looked up and never trusted: any pointer may come in. Under the lock. */
static struct cublasContext **place_of(cublasHandle_t handle) {
    struct cublasContext **at = &handles;
    while (*at != NULL && *at != handle) {
        at = &(*at)->next;
    }
    return at;
}

static int is_handle(cublasHandle_t handle) {
    pthread_mutex_lock(&lock);
    int found = handle != NULL && *place_of(handle) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle) {
    if (handle == NULL) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    struct cublasContext *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return CUBLAS_STATUS_ALLOC_FAILED;
    }
    pthread_mutex_lock(&lock);
    made->next = handles;
    handles = made;
    pthread_mutex_unlock(&lock);
    *handle = made;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
    pthread_mutex_lock(&lock);
    struct cublasContext **at = place_of(handle);
    struct cublasContext *found = handle != NULL ? *at : NULL;
    if (found != NULL) {
        *at = found->next;
    }
    pthread_mutex_unlock(&lock);
    free(found);
    return found != NULL ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}

/* Another stream puts the library's own workspace back (documentation of cublasSetStream). */
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, struct CUstream_st *streamId) {
    if (!is_handle(handle)) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    handle->stream = streamId;
    handle->workspace = NULL;
    handle->workspace_size = 0;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
    if (!is_handle(handle)) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    cublasMath_t base = mode & ~MATH_NO_REDUCED_PRECISION;
    if (base < CUBLAS_DEFAULT_MATH || base > MATH_MODE_LAST) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    handle->math = mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t workspaceSizeInBytes) {
    if (!is_handle(handle)) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    if ((uintptr_t)workspace % WORKSPACE_ALIGNMENT != 0) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    handle->workspace = workspace;
    handle->workspace_size = workspaceSizeInBytes;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return "the function requires an architectural feature absent from the device";
    case CUBLAS_STATUS_MAPPING_ERROR:
        return "an access to GPU memory space failed";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "the function failed to launch on the GPU";
    case CUBLAS_STATUS_INTERNAL_ERROR:
        return "an internal operation failed";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "the requested functionality is not supported";
    case CUBLAS_STATUS_LICENSE_ERROR:
        return "the requested functionality requires some license";
    }
    return "unknown error";
}

static int at_least(int value, int floor) {
    return value >= (floor > 1 ? floor : 1);
}

static int is_operation(cublasOperation_t operation) {
    return operation >= CUBLAS_OP_N && operation <= CUBLAS_OP_C;
}

struct gemm {
    cublasOperation_t transa, transb;
    int m, n, k, lda, ldb, ldc, batch;
    const void *alpha, *beta;
};

/* Column major: the leading dimension is at least the number of rows as stored. An empty product is done. */
static cublasStatus_t gemm(cublasHandle_t handle, const struct gemm *call) {
    if (!is_handle(handle)) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    if (!is_operation(call->transa) || !is_operation(call->transb) || call->m < 0 || call->n < 0 || call->k < 0 ||
        call->batch < 0 || call->alpha == NULL || call->beta == NULL ||
        !at_least(call->lda, call->transa == CUBLAS_OP_N ? call->m : call->k) ||
        !at_least(call->ldb, call->transb == CUBLAS_OP_N ? call->k : call->n) || !at_least(call->ldc, call->m)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    return call->m == 0 || call->n == 0 || call->batch == 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

#define GEMM(count) (&(struct gemm){transa, transb, m, n, k, lda, ldb, ldc, (count), alpha, beta})
// clang-format off
#define UNUSED(...) (void)sizeof((const void *[]){__VA_ARGS__})
// clang-format on

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                              int k, const float *alpha, const float *A, int lda, const float *B, int ldb,
                              const float *beta, float *C, int ldc) {
    UNUSED(A, B, C);
    return gemm(handle, GEMM(1));
}

cublasStatus_t cublasSgemmBatched(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
                                  int n, int k, const float *alpha, const float *const A[], int lda,
                                  const float *const B[], int ldb, const float *beta, float *const C[], int ldc,
                                  int batchCount) {
    UNUSED(A, B, C);
    return gemm(handle, GEMM(batchCount));
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                         int m, int n, int k, const float *alpha, const float *A, int lda,
                                         long long strideA, const float *B, int ldb, long long strideB,
                                         const float *beta, float *C, int ldc, long long strideC, int batchCount) {
    UNUSED(A, B, C, &strideA, &strideB, &strideC);
    return gemm(handle, GEMM(batchCount));
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                            int k, const void *alpha, const void *A, cudaDataType Atype, int lda, const void *B,
                            cudaDataType Btype, int ldb, const void *beta, void *C, cudaDataType Ctype, int ldc,
                            cublasComputeType_t computeType, cublasGemmAlgo_t algo) {
    UNUSED(A, B, C, &Atype, &Btype, &Ctype, &computeType, &algo);
    return gemm(handle, GEMM(1));
}

cublasStatus_t cublasGemmBatchedEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
                                   int n, int k, const void *alpha, const void *const A[], cudaDataType Atype, int lda,
                                   const void *const B[], cudaDataType Btype, int ldb, const void *beta,
                                   void *const C[], cudaDataType Ctype, int ldc, int batchCount,
                                   cublasComputeType_t computeType, cublasGemmAlgo_t algo) {
    UNUSED(A, B, C, &Atype, &Btype, &Ctype, &computeType, &algo);
    return gemm(handle, GEMM(batchCount));
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                          int m, int n, int k, const void *alpha, const void *A, cudaDataType Atype,
                                          int lda, long long strideA, const void *B, cudaDataType Btype, int ldb,
                                          long long strideB, const void *beta, void *C, cudaDataType Ctype, int ldc,
                                          long long strideC, int batchCount, cublasComputeType_t computeType,
                                          cublasGemmAlgo_t algo) {
    UNUSED(A, B, C, &Atype, &Btype, &Ctype, &strideA, &strideB, &strideC, &computeType, &algo);
    return gemm(handle, GEMM(batchCount));
}

cublasStatus_t cublasStrsmBatched(cublasHandle_t handle, cublasSideMode_t side, cublasFillMode_t uplo,
                                  cublasOperation_t trans, cublasDiagType_t diag, int m, int n, const float *alpha,
                                  const float *const A[], int lda, float *const B[], int ldb, int batchCount) {
    UNUSED(A, B);
    if (!is_handle(handle)) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    if (side < 0 || side > CUBLAS_SIDE_RIGHT || uplo < 0 || uplo > 1 || !is_operation(trans) || diag < 0 || diag > 1 ||
        m < 0 || n < 0 || batchCount < 0 || alpha == NULL || !at_least(lda, side == CUBLAS_SIDE_LEFT ? m : n) ||
        !at_least(ldb, m)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    return m == 0 || n == 0 || batchCount == 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
