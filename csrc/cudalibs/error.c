/* Error codes: their names and texts, and the last one of each thread. */
#include "cudart.h"

static _Thread_local cudaError_t last;

static const struct {
    cudaError_t code;
    const char *name;
    const char *text;
} codes[] = {
#define CUDART_CODE(name, number, text) {name, #name, text},
#include "errors.def"
};

static const char unknown[] = "unrecognized error code";

cudaError_t cudart_end(cudaError_t code) {
    if (code != cudaSuccess) {
        last = code;
    }
    return code;
}

const char *cudaGetErrorName(cudaError_t error) {
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i].code == error) {
            return codes[i].name;
        }
    }
    return unknown;
}

const char *cudaGetErrorString(cudaError_t error) {
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i].code == error) {
            return codes[i].text;
        }
    }
    return unknown;
}

/* Both start the runtime. An error of the start is every thread's last one for ever (measured on 12.8.90 and 13.0.96).
 */
static cudaError_t peek(void) {
    cudaError_t code = cudart_start();
    return code == cudaSuccess ? last : code;
}

cudaError_t cudaPeekAtLastError(void) {
    return peek();
}

cudaError_t cudaGetLastError(void) {
    cudaError_t code = peek();
    last = cudaSuccess;
    return code;
}
