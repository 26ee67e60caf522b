/* The driver as the runtime stand-ins see it: a client's view of cuda.h, and the functions found in libcuda.so.1. */
#ifndef CUDALIBS_DRIVER_H
#define CUDALIBS_DRIVER_H

#include "runtime.h"

typedef struct CUctx_st *driver_context;
typedef struct CUlib_st *driver_library;
typedef struct CUfunc_st *driver_function;
typedef unsigned long long driver_pointer;

enum { DRIVER_MEMORY_HOST = 1, DRIVER_MEMORY_DEVICE = 2, DRIVER_MEMORY_UNIFIED = 4 };

/* CUDA_MEMCPY2D of cuda.h since 3.2. */
struct driver_copy_2d {
    size_t from_x, from_y;
    int from_type;
    const void *from_host;
    driver_pointer from_device;
    void *from_array;
    size_t from_pitch;
    size_t to_x, to_y;
    int to_type;
    void *to_host;
    driver_pointer to_device;
    void *to_array;
    size_t to_pitch;
    size_t width, height;
};
static_assert(sizeof(struct driver_copy_2d) == 128, "as cuda.h has it");

/* CUlaunchConfig. */
struct driver_launch {
    unsigned int grid_x, grid_y, grid_z;
    unsigned int block_x, block_y, block_z;
    unsigned int shared;
    cudaStream_t stream;
    struct cudaLaunchAttribute_st *attributes;
    unsigned int attribute_count;
};
static_assert(sizeof(struct driver_launch) == 56, "as cuda.h has it");

/* NULL: the driver does not have the function. */
struct driver {
#define DRIVER(symbol, base, version, parameters) int(*symbol) parameters;
#include "driver.def"
};
extern struct driver cudart_driver;

/* Finds libcuda.so.1 and its functions; part of the start. Answers 0 if there is no library. */
int cudart_find_driver(void);

/* Calls a driver function; a driver that lacks it is older than what was asked of it. */
#define CUDART_DRIVER(function, ...)                                                                                   \
    (cudart_driver.function != NULL ? (cudaError_t)cudart_driver.function(__VA_ARGS__)                                 \
                                    : cudaErrorCallRequiresNewerDriver)

#endif
